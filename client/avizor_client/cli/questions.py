"""Hold what the commands about items share: their options, and what becomes of the answers."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import click

from avizor_client.answers import Answer, Verdict
from avizor_client.cli.connection_options import connection_options
from avizor_client.cli.listed_items import Listed, Rule, Unreadable, expand, listed_items, source_rule
from avizor_client.cli.output import print_json, print_line, width
from avizor_client.cli.unknown_sources import UnknownSources
from avizor_client.client import Client
from avizor_client.errors import ItemFailed, TooLarge

_GROUP = 16  # items that are asked about before their answers are printed
_SOME_FAILED, _ANOMALY = 3, 4

Ask = Callable[[Client, list[Any]], Answer[Any]]
Write = Callable[[str, Any], Path]  # writes the result of an item of a name to a file


@dataclass
class Question:
    """What a command asks about which items, and how it tells the answers.

    connect: returns a Client as a context manager. failed: number of items without an answer so far.
    """

    model: str
    version: int
    files: Sequence[str]
    rule: Rule
    mix_channels: bool
    as_json: bool
    connect: Callable[[], Any]
    failed: int = field(default=0, init=False)
    _unknown: UnknownSources | None = field(default=None, init=False)

    def ask(self, ask: Ask, write: Write | None = None) -> Iterator[tuple[str, Any, str]]:
        """Yield name and result of each item that was answered, printed already if as JSON, and where `write` wrote it.

        Tells of the other items.
        """
        with self.connect() as client:
            model = client.model(self.model, self.version)
            self._unknown = UnknownSources(model)
            listed = listed_items(self.files, model, self.rule, mix_channels=self.mix_channels)
            while group := list(islice(listed, _GROUP)):
                for name, head, item in _answers(client, ask, group):
                    if isinstance(item, ItemFailed):
                        self._tell(name, head, item)
                        continue
                    if isinstance(item, Verdict):
                        self._unknown.judged(head["source"], item.calibration_id)
                    place = str(write(name, item)) if write else ""
                    if self.as_json:
                        print_json(head | _fields(item) | ({"written": place} if place else {}))
                    yield name, item, place

    def width(self) -> int:
        """Return how wide the column of names is."""
        return width(self.files)

    def end(self, *, is_anomaly: bool = False) -> None:
        """Tell of unknown sources, and end the command with its exit code."""
        for line in self._unknown.lines() if self._unknown else ():
            click.echo(line, err=True)
        if self.failed or is_anomaly:
            sys.exit(_SOME_FAILED if self.failed else _ANOMALY)

    def _tell(self, name: str, head: dict[str, Any], item: ItemFailed) -> None:
        self.failed += 1
        if self.as_json:
            print_json(head | {"error": {"code": item.code, "message": item.message, "field": item.field}})
        else:
            print_line([name, f"{item.code}: {item.message}"], [self.width()])


def item_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what all commands about items take. The command gets `question`."""

    @functools.wraps(command)
    def with_question(
        *,
        model: str,
        files: tuple[str, ...],
        version: int,
        source: str,
        source_pattern: str,
        source_column: str,
        mix_channels: bool,
        as_json: bool,
        connect: Callable[[], Any],
        **options: Any,
    ) -> None:
        rule = source_rule(source, source_pattern, source_column)
        command(question=Question(model, version, expand(files), rule, mix_channels, as_json, connect), **options)

    options = (
        click.argument("model"),
        click.argument("files", nargs=-1, required=True),
        click.option(
            "--version",
            type=click.IntRange(min=0),
            default=0,
            show_default="the one that is served",
            help="Version of the model.",
        ),
        click.option("--source", metavar="NAME", default="", help="Where all items come from, such as the name of a machine."),
        click.option(
            "--source-pattern",
            metavar="REGEX",
            default="",
            help="Regular expression that is searched in each path; its first group is the source.",
        ),
        click.option(
            "--source-column", metavar="NAME", default="", help="Column of a table that names the source of each row."
        ),
        click.option("--mix-channels", is_flag=True, help="Of sound: take the mean of the channels, not each by itself."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each item, one a line."),
    )
    decorated = connection_options(with_question)
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def _answers(
    client: Client, ask: Ask, group: Sequence[Listed | Unreadable]
) -> Iterator[tuple[str, dict[str, Any], Any | ItemFailed]]:
    """Yield, for each item in its turn, its name, what JSON says first of it, and its result."""
    readable = [each.item for each in group if isinstance(each, Listed)]
    try:
        answer = ask(client, readable) if readable else None
    except TooLarge as error:
        if len(group) > 1:  # that one is too large costs the others nothing
            for each in group:
                yield from _answers(client, ask, [each])
            return
        yield group[0].name, {"file": group[0].name}, ItemFailed(error.code, error.message)
        return
    results = iter(answer.items if answer else ())
    for each in group:
        if isinstance(each, Unreadable):
            yield each.name, {"file": each.name}, ItemFailed("UNREADABLE", each.problem)
        else:
            assert answer is not None
            head = {"file": each.name, "source": each.item.source, "model": answer.model, "version": answer.version}
            yield each.name, head, next(results)


def _fields(item: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(item).items() if name not in ("outputs", "tensor", "file")}

"""Add options to commands, and write the help texts of those with many: the options in groups, under headings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

OTHER = "Other options"

Command = TypeVar("Command", bound=Callable[..., Any])


def with_options(command: Command, *options: Callable[[Command], Command]) -> Command:
    """Add options to a command, which `--help` lists in this order."""
    for option in reversed(options):
        command = option(command)
    return command


class GroupedCommand(click.Command):
    """Lists the options of a command in its `--help` under headings.

    groups: for each heading the names of its parameters, such as `max_items` for --max-items. Options that no group names,
    such as --help, come last. Raises ValueError if a group names a parameter that the command does not have.
    """

    def __init__(self, *arguments: Any, groups: Mapping[str, Sequence[str]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.groups = groups
        grouped = {name for names in groups.values() for name in names}
        if unknown := grouped - {parameter.name for parameter in self.params}:
            raise ValueError(f"the command has no parameters {sorted(unknown)}; correct the groups")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group, then one for the other options."""
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        records = {option.name: option.get_help_record(ctx) for option in options}
        shown = {name: record for name, record in records.items() if record is not None}  # None: a hidden option
        sections = {heading: [shown.pop(name) for name in names if name in shown] for heading, names in self.groups.items()}
        for heading, rows in (sections | {OTHER: list(shown.values())}).items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

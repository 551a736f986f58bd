"""Find the sub-commands of the installed components through entry points; if an extra is missing, say what to install."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise
from typing import Any

import click

from avizor_cli.always_needed import requirement_of
from avizor_cli.other_options import with_other
from avizor_cli.summaries import missing_of, not_installed, summary_of, to_install
from avizor_inference.slow_imports import slow_imports

GROUP = "avizor.commands"

# Commands that do without what their package's extra brings, such as torch -> the extra that they need.
_NEEDS_LESS = {"tune": "pictures"}


# What would be the extra of commands of this package, which need no other.
_ALWAYS = "cli"


class SubCommands(click.Group):
    """Loads a sub-command's module only when it is called, so that `avizor models` does not wait for torch."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Refuse an argument without text, of every command: as a path it would be the folder that the command runs in."""
        for before, argument in pairwise([self.name or "", *arguments]):
            option, equals, value = argument.partition("=")
            if not argument or (option.startswith("--") and equals and not value):
                raise click.UsageError(
                    f"what comes after {option or before!r} is empty (a variable of the shell that is not set?); "
                    "give it a value, or leave the option out",
                    context,
                )
        return super().parse_args(context, arguments)

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of the sub-commands, sorted."""
        return sorted(_commands())

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Load and return a sub-command; None if no sub-command has that name."""
        entry = _commands().get(name)
        if entry is None:
            return None
        if missing := missing_of(_extra(entry)):  # asked first: some commands load it only when they need it
            return _unavailable(entry, missing)
        try:
            with slow_imports():
                command = entry.load()
        except ModuleNotFoundError as error:
            return _unavailable(entry, error.name or "")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names; for a name that is none, name the most similar one.

        Click looks for it among the commands that are loaded, and here none is.
        """
        name = arguments[0]
        near = [] if name in _commands() else get_close_matches(name, _commands(), n=1)
        if near:
            raise click.UsageError(f"No such command {name!r}. Did you mean {near[0]!r}?", context)
        return super().resolve_command(context, arguments)

    def invoke(self, context: click.Context) -> Any:
        """Run a sub-command; an option that it has not is told with what it is called there."""
        try:
            return super().invoke(context)
        except click.NoSuchOption as error:
            raise with_other(error) from error

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of `--help`; only commands of other packages are loaded for it."""
        rows = []
        for name, entry in sorted(_commands().items()):
            summary = summary_of(name, _extra(entry))
            if summary is None:
                command = self.get_command(context, name)
                summary = command.get_short_help_str() if command else ""
            rows.append((name, summary))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def runs_code_of_users(arguments: Sequence[str]) -> bool:
    """Return whether a command may import modules of users, as those do that open networks."""
    entry = _commands().get(arguments[0]) if arguments else None
    return entry is not None and entry.module.startswith("avizor_export")


@cache
def _commands() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _unavailable(entry: EntryPoint, missing: str) -> click.Command:
    """Return a stand-in for a command whose extra is not installed: it is listed, and says what to install."""
    extra = _extra(entry)
    install = requirement_of(missing) if extra == _ALWAYS else f"avizor[{to_install(extra)}]"
    message = f"`avizor {entry.name}` needs {missing}, which is not installed; pip install '{install}'"

    def fail(**_: object) -> None:
        raise click.ClickException(message)

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(
        entry.name, callback=fail, help=f"({message})", short_help=not_installed(extra), context_settings=settings
    )


def _extra(entry: EntryPoint) -> str:
    """Return the extra that a command belongs to: its package is named after it, unless the command needs less."""
    return _NEEDS_LESS.get(entry.name) or entry.module.partition(".")[0].removeprefix("avizor_")

"""Help of a command with many options: the options in titled sections, then examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

# The section of options without a group, such as --help.
_OTHER = "Other options"


class GroupedCommand(click.Command):
    """A command that prints the options of each option_group under its title, and examples after them.

    examples: command lines, printed as they are. Defaults are shown for every option.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **keywords: Any) -> None:
        keywords["context_settings"] = {"show_default": True, **(keywords.get("context_settings") or {})}
        super().__init__(*args, **keywords)
        self.examples = tuple(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group, in the order of the options; what has no group comes last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(parameter, "group", _OTHER), []).append(record)
        others = sections.pop(_OTHER, [])
        for title, records in (*sections.items(), (_OTHER if sections else "Options", others)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then the epilog."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
        super().format_epilog(ctx, formatter)


def option_group(title: str, *options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return a decorator that adds these options to a command, under one title in its help.

    options: what click.option returns, or decorators that add several options.
    """

    def add(command: Command) -> Command:
        before = list(getattr(command, "__click_params__", ()))
        for option in reversed(options):
            command = option(command)
        for parameter in getattr(command, "__click_params__", ()):
            if not any(parameter is other for other in before):
                parameter.group = title
        return command

    return add

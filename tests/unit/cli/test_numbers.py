"""Numbers that compare with nothing, or that a library cannot hold, are wrong usage of every option of every command."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from avizor_cli.subcommands import SubCommands
from avizor_service.cli import serve


def options(command: click.Command, name: str) -> Iterator[tuple[str, click.Parameter]]:
    """Yield the options of a command and of those below it, each with the command as it is typed."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from options(below, f"{name} {below.name}")
    for parameter in command.params:
        yield f"{name} {parameter.name}", parameter


def ranges() -> dict[str, click.FloatRange]:
    """Return the range of each option that takes a number with a point, of all commands."""
    group = SubCommands("avizor")
    context = click.Context(group)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    found = (option for name, command in commands.items() if command for option in options(command, name))
    return {name: option.type for name, option in found if isinstance(option.type, click.FloatRange)}


def takes(kind: click.FloatRange, text: str) -> bool:
    """Return whether a range takes a text."""
    try:
        kind(text)
    except click.BadParameter:
        return False
    return True


@pytest.mark.parametrize("text", ["nan", "inf"])
def test_a_number_that_is_not_finite_is_wrong_usage_of_every_option(text: str) -> None:
    every = ranges()
    assert {name.split()[0] for name in every} >= {"serve", "batch", "watch", "fit", "export", "call", "health", "models"}
    assert [name for name, kind in every.items() if takes(kind, text)] == []


@pytest.mark.parametrize("option", ["--max-message-mib", "--max-connections", "--decoder-memory-mib"])
def test_a_limit_that_grpc_or_the_system_cannot_hold_is_wrong_usage(option: str) -> None:
    result = CliRunner().invoke(serve, [option, "9999999999999"])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output

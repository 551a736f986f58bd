"""Help of commands with groups of options."""

from __future__ import annotations

from typing import Any

import click
from click.testing import CliRunner

from avizor_inference.option_groups import GroupedCommand, option_group


def both(command: Any) -> Any:
    return click.option("--third", help="Third.")(click.option("--fourth", help="Fourth.")(command))


@click.command(cls=GroupedCommand, examples=["cook --first 2", "cook --second --third x"], epilog="Good luck.")
@click.argument("dish", required=False)
@option_group(
    "Numbers",
    click.option("--first", type=int, default=7, help="First of all."),
    click.option("--second", is_flag=True, help="Second."),
)
@option_group("Words", both)
@click.option("--alone", help="In no group.")
def cook(**options: object) -> None:
    """Cook."""
    click.echo(repr(sorted(options.items())))


def test_options_are_printed_under_the_title_of_their_group_and_others_last() -> None:
    lines = [line.strip() for line in CliRunner().invoke(cook, ["--help"]).output.splitlines() if line.strip()]
    shown = [line.split("  ")[0] for line in lines[2:]]
    assert shown == [
        *("Numbers:", "--first INTEGER", "--second"),
        *("Words:", "--third TEXT", "--fourth TEXT"),
        *("Other options:", "--alone TEXT", "--help"),
        *("Examples:", "cook --first 2", "cook --second --third x"),
        "Good luck.",
    ]
    assert "--first INTEGER  First of all.  [default: 7]" in lines


def test_options_of_a_group_work_as_others_do() -> None:
    result = CliRunner().invoke(cook, ["--third", "x", "--second"])
    expected = {"first": 7, "second": True, "third": "x", "fourth": None, "alone": None, "dish": None}
    assert result.output.strip() == repr(sorted(expected.items()))


def test_a_command_without_groups_looks_as_ever() -> None:
    plain = click.Command("plain", params=[click.Option(["--one"], help="One.")])
    same = GroupedCommand("plain", params=[click.Option(["--one"], help="One.")])
    assert CliRunner().invoke(same, ["--help"]).output == CliRunner().invoke(plain, ["--help"]).output

"""cli_option_groups.py: help texts with the options under headings."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from avizor_inference.cli_option_groups import GroupedCommand


def test_options_are_shown_in_the_order_of_their_groups_and_the_rest_last() -> None:
    @click.command(cls=GroupedCommand, groups={"Second": ["second"], "First": ["first"]})
    @click.argument("place")
    @click.option("--first", help="One.")
    @click.option("--loose", help="Three.")
    @click.option("--second", help="Two.")
    @click.option("--hidden", hidden=True)
    def command(**_options: str) -> None: ...

    shown = CliRunner().invoke(command, ["--help"]).output
    words = [word for word in shown.split() if word.endswith(":") or word.startswith("--")]
    assert words == ["Usage:", "Second:", "--second", "First:", "--first", "options:", "--loose", "--help"]
    assert shown.count("PLACE") == 1  # in the usage line, not among the options


def test_a_group_of_a_parameter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no parameters \['absent'\]"):
        click.command(cls=GroupedCommand, groups={"Group": ["absent"]})(lambda: None)

"""What a page shows is run and compared: a test that could not fail would prove nothing about a page."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.shown_commands import run_shown


def page(*blocks: str) -> str:
    return "\n".join(["# A page", *(f"```console\n{block}\n```" for block in blocks), "the end"])


def test_commands_run_in_one_shell_and_print_what_is_shown(tmp_path: Path) -> None:
    run_shown(
        page("$ export NAME=Ada\n$ mkdir here && cd here", "$ echo 1; echo $NAME \\\n  Byron; pwd\nAda B...\n.../here"),
        tmp_path,
    )
    assert (tmp_path / "here").is_dir()


def test_an_exit_code_that_is_shown_is_compared(tmp_path: Path) -> None:
    run_shown(page("$ false\n$ echo $?\n1"), tmp_path)
    with pytest.raises(AssertionError, match="the page shows: 1"):
        run_shown(page("$ true\n$ echo $?\n1"), tmp_path)


def test_a_program_prints_what_its_comment_says(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc")
    program = "```python\nfrom pathlib import Path\n\nprint(len(Path('a.txt').read_text()))  # {}\n```\n"
    run_shown(program.format(3), tmp_path)
    with pytest.raises(AssertionError, match="the page shows: 4"):
        run_shown(program.format(4), tmp_path)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("$ false", "exit code 1"),
        ("$ echo 1\n2", "the page shows: 2"),
        ("$ echo 1; echo 2\n2\n1", "the page shows: 1"),
        ("$ nothing-like-it", "exit code 127"),
        ("$ exit 0\n$ echo 1", "ended early"),
        ("echo 1", "begins with a command"),
        ("$ pip install x", "shows no command"),
    ],
)
def test_what_a_page_promises_in_vain_fails(block: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=says):
        run_shown(page(block), tmp_path)

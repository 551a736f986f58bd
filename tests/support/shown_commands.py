"""Run the commands that a page shows, in order and in one shell, and compare what they print with what the page says.

What counts of a page are its blocks of `console` and of `python`:

* `console`: lines that begin with `$ ` are commands; one that ends with a backslash goes on in the next line. The lines below a
  command are lines that it prints, in this order, on standard output or standard error. It may print others between them.
  `...` in a line stands for any text. A command ends with 0, unless the next one is `echo $?`.
* `python`: a program, run by itself. `print(...)  # text` says what is printed.

What a test cannot run (by default `pip install` and `docker`) is left out; a test of their own checks what they name.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.warm_starts import warm_shell

LEFT_OUT = re.compile(r"(pip install|docker|docker-compose) ")
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
_END = "-- end of command --"


@dataclass(frozen=True)
class Shown:
    """A command of a page. expected: lines that it prints. may_fail: whether the page shows its exit code."""

    command: str
    expected: tuple[str, ...]
    may_fail: bool = False


def shown_commands(page: str) -> list[Shown]:
    """Return the commands of a page, in order."""
    found = list(_commands(page))
    following = [*found[1:], Shown("", ())]
    return [
        Shown(each.command, each.expected, after.command == "echo $?") for each, after in zip(found, following, strict=True)
    ]


def run_shown(
    page: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 300,
    left_out: re.Pattern[str] | None = LEFT_OUT,
    cold: bool = False,
) -> None:
    """Run the commands of a page in a folder, with the environment of this process and what is given beside it.

    left_out: commands that are not run; None: all are. cold: whether `avizor` starts as it does for users (see warm_starts).
    Raises AssertionError for a command that fails, or that does not print what the page says, with all that it printed.
    """
    commands = [each for each in shown_commands(page) if not (left_out and left_out.match(each.command))]
    assert commands, "the page shows no command"
    used = re.findall(r"\bavizor (\w+)", " ".join(each.command for each in commands))
    cold = cold or "AVIZOR_COLD_STARTS" in os.environ
    paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} if cold else warm_shell(used)
    done = subprocess.run(
        ["bash", "-u"],
        input=_script(commands),
        cwd=folder,
        env={**os.environ, **paths, "COLUMNS": "200", **(environment or {})},
        close_fds=cold,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    printed = re.split(rf"{_END} (\d+)\n", done.stdout)
    for each, output, code in zip(commands, printed[::2], printed[1::2], strict=False):
        assert each.may_fail or code == "0", f"$ {each.command}\n{output}exit code {code}"
        _compare(each, output)
    assert len(printed) // 2 == len(commands), f"the shell ended early:\n{done.stdout}"


def _commands(page: str) -> Iterator[Shown]:
    for language, text in _BLOCK.findall(page):
        if language == "python":
            yield Shown(f"python - <<'END_OF_PROGRAM'\n{text}END_OF_PROGRAM", tuple(_PRINTED.findall(text)))
            continue
        assert text.startswith("$ "), f"a block of console begins with a command:\n{text}"
        for shown in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            lines = shown.rstrip("\n").split("\n")
            last = next(number for number, line in enumerate(lines) if not line.endswith("\\"))
            yield Shown("\n".join(lines[: last + 1]), tuple(line for line in lines[last + 1 :] if line))


def _script(commands: list[Shown]) -> str:
    """Commands for one shell, so that what one of them exports or leaves in `$?` counts for the next."""
    lines = ["trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
    for each in commands:
        # standard input is this script: a command must not read it
        lines += ["{", each.command, "} </dev/null" if "<<" not in each.command else "}"]
        lines += [f'code=$?; echo "{_END} $code"; (exit $code)']
    return "\n".join(lines) + "\n"


def _compare(shown: Shown, output: str) -> None:
    printed = iter([part.strip() for line in output.splitlines() for part in line.split("\r")])
    for line in shown.expected:
        pattern = re.compile(".*".join(map(re.escape, line.strip().split("..."))))
        assert any(pattern.fullmatch(each) for each in printed), f"$ {shown.command}\n{output}\nthe page shows: {line}"

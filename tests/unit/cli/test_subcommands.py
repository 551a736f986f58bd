"""subcommands.py: commands are found by entry points and loaded when they are called. Each test is a fresh process."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules[{module!r}] = None; from avizor_cli.main import main; sys.argv = sys.argv[1:]; main()"
LOADED = """
import sys
import click
from avizor_cli.subcommands import SubCommands
group = SubCommands("avizor")
assert "models" in group.list_commands(click.Context(group))
assert not any(name.startswith(("avizor_pipeline", "avizor_service", "avizor_export", "torch")) for name in sys.modules)
command = group.get_command(click.Context(group), "models")
print(command.name, group.get_command(click.Context(group), "made-up"), "torch" in sys.modules)
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("command", "module", "extra"), [("serve", "uvloop", "service"), ("batch", "pyarrow", "pipeline")])
def test_a_command_whose_extra_is_missing_says_what_to_install(command: str, module: str, extra: str) -> None:
    without = WITHOUT.format(module=module)
    called = python(without, "avizor", command, "--any-option", "x")
    assert (called.returncode, called.stdout) == (1, "")
    assert f"`avizor {command}` needs {module}, which is not installed; pip install 'avizor[{extra}]'" in called.stderr
    helped = python(without, "avizor", command, "--help")
    assert helped.returncode == 0
    assert f"pip install 'avizor[{extra}]'" in " ".join(helped.stdout.split())


def test_a_command_is_loaded_alone_and_an_unknown_one_is_none() -> None:
    result = python(LOADED)
    assert (result.stdout, result.stderr) == ("models None False\n", "")


def test_a_command_that_does_not_exist_is_wrong_usage() -> None:
    result = python("from avizor_cli.main import main; import sys; sys.argv = ['avizor', 'made-up']; main()")
    assert result.returncode == 2
    assert "No such command 'made-up'" in result.stderr

"""Help and wrong usage of the commands that need torch are told without it: to load it takes seconds."""

from __future__ import annotations

import subprocess
import sys

SAY = """
import sys
from importlib.machinery import ModuleSpec
class Torch:  # it is installed, but must not be loaded
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name == "torch" else None
    def create_module(self, spec):
        sys.exit("torch was loaded")
sys.meta_path.insert(0, Torch())
from avizor_cli.main import main
sys.argv = ["avizor", *sys.argv[1:]]
main()
"""


def said_without_torch(*arguments: str) -> tuple[int, str]:
    result = subprocess.run([sys.executable, "-c", SAY, *arguments], capture_output=True, text=True, check=False)
    return result.returncode, " ".join((result.stdout + result.stderr).split())


def test_help_comes_without_torch() -> None:
    for command in ("describe", "export", "fit", "tune"):
        status, said = said_without_torch(command, "--help")
        assert status == 0, said
        assert f"Usage: avizor {command}" in said


def test_options_of_an_export_that_contradict_each_other_are_told_without_torch() -> None:
    status, said = said_without_torch("export", "net:net", "--name", "m", "--task", "classify", "--int8", "--fp16")
    assert (status, "--int8 and --fp16 are two precisions" in said) == (2, True), said


def test_tune_needs_no_torch() -> None:
    status, said = said_without_torch("tune", "nothing", "--models", "nowhere")
    assert (status, "nowhere is not a folder" in said) == (1, True), said

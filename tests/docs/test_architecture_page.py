"""docs/architecture.md: all paths in it exist, and its trees contain every folder of every package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = {name: f"{name}/avizor_{name}/" for name in ("inference", "export", "pipeline", "review", "service", "client")}


def tree(package: str) -> Iterator[str]:
    """The paths of a package's tree: each line is a name, indented below its folder, and what it is for."""
    (lines,) = re.findall(rf"^```text\n{re.escape(package)}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    folders = [package]
    for line in lines.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        del folders[depth:]
        folders.append(name)
        yield "".join(folders)


def named_paths() -> set[str]:
    """What stands in backticks and begins with a folder of the repository."""
    folders = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    return set(re.findall(rf"`((?:{folders})/[\w./-]*)`", PAGE))


@pytest.mark.parametrize("path", sorted({*named_paths(), *(path for each in PACKAGES.values() for path in tree(each))}))
def test_a_path_of_the_page_is_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_no_room_is_left_out(package: str) -> None:
    rooms = {f"{package}{init.parent.name}/" for init in (ROOT / package).glob("*/__init__.py")}
    assert rooms <= set(tree(package))


def test_every_package_has_questions() -> None:
    answers = re.findall(r"^\| \.\.\. .*\? \| (.*) \|$", PAGE, re.MULTILINE)
    assert len(answers) >= 20
    for package in (*PACKAGES.values(), "cli/avizor_cli/"):
        assert any(package in answer for answer in answers), package

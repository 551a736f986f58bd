"""All pages: no placeholder is left, no link is broken, and every page can be found."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from avizor_cli.main import avizor

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OUTSIDE = ("shared", "demo-output")  # no part of the repository
PAGES = sorted(
    page
    for page in {*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *DOCS.rglob("*.md")}
    if page.relative_to(ROOT).parts[0] not in OUTSIDE and not page.relative_to(ROOT).parts[0].startswith(".")
)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def names(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[str]:
    return re.findall(rf"^```(?:{'|'.join(languages)})\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[list[str]]:
    """The `avizor` commands that a page shows, each as its words."""
    for block in blocks(page, "sh", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["avizor"] and "..." not in words:
                yield words[1:]


# Packages of users that Avizor does not need, and tests neither.
NOT_INSTALLED = {"transformers"}


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_a_page_is_whole(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"\b[A-Z]+_(TABLES?|TEXT|LINES|PLACEHOLDER)\b|\bTODO\b|\bTBD\b", text)
    for file, anchor in LINK.findall(text):
        target = (page.parent / file) if file else page
        assert target.exists(), file
        if anchor:
            assert anchor in anchors(target), f"{file}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_python_of_a_page_is_valid_and_imports_what_exists(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module not in NOT_INSTALLED:
                module = import_module(node.module)
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        import_module(f"{node.module}.{alias.name}")


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_of_a_page_have_only_options_that_exist(page: Path) -> None:
    for words in commands(page):
        command: click.Command = avizor
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            child = command.get_command(click.Context(command), words.pop(0))
            assert child is not None
            command = child
        known = {"--help", "--version"} | {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options <= known, words


@pytest.mark.parametrize("folder", ["inference", "export", "pipeline", "service", "client", "cli"])
def test_the_readme_of_a_package_names_only_what_is_in_it(folder: str) -> None:
    text = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    bases = [ROOT, *ROOT.glob("*/"), *(ROOT / folder).glob("avizor_*/")]
    named = re.findall(r"`([\w/]+(?:\.py|/))`", text)
    assert [name for name in named if not any((base / name).exists() for base in bases)] == []
    assert len(named) > 1


def test_every_page_of_docs_is_linked_from_its_index() -> None:
    linked = {(DOCS / file).resolve() for file, _ in LINK.findall((DOCS / "README.md").read_text(encoding="utf-8"))}
    pages = {page for page in DOCS.rglob("*.md") if "decisions" not in page.parts}
    assert sorted(map(names, pages - linked - {DOCS / "README.md"})) == []


def test_the_readme_is_short_and_its_picture_is_small() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100
    pictures = list((DOCS / "images").iterdir())
    assert pictures
    assert all(picture.stat().st_size < 150_000 for picture in pictures)


def test_each_word_of_the_glossary_has_one_entry() -> None:
    terms = re.findall(r"^\| \*\*(.*?)\*\*", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(terms) > 40
    assert len(set(terms)) == len(terms)

"""The pages as a whole: no gap that was left to be filled, no link that leads nowhere."""

import re
from pathlib import Path

import pytest
from support.environment import ROOT

FOLDERS = [ROOT, *(ROOT / name for name in ("inference", "export", "pipeline", "service", "cli", "proto", "examples"))]
PAGES = sorted([*(page for folder in FOLDERS for page in folder.glob("*.md")), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_whole(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"\b[A-Z]+_(TABLES?|TEXT|LINES|PLACEHOLDER)\b|\bTODO\b|\bTBD\b", text)
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / link).exists(), link

"""What the Dockerfiles copy is sent to Docker, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.environment import ROOT

DOCKERFILES = sorted(ROOT.glob("*/Dockerfile"))
COPIED = {
    path: {source for line in re.findall(r"^COPY (.+) \S+$", path.read_text(), re.MULTILINE) for source in line.split()}
    for path in DOCKERFILES
}
PATTERNS = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
SENT = {pattern[1:] for pattern in PATTERNS if pattern.startswith("!")}


@pytest.mark.parametrize("path", [pytest.param(path, id=path.parent.name) for path in DOCKERFILES])
def test_each_source_of_a_copy_is_there_and_sent(path: Path) -> None:
    assert len(COPIED[path]) > 5
    for source in COPIED[path]:
        assert (ROOT / source).exists()
        assert source.partition("/")[0] in SENT


def test_nothing_is_sent_that_no_image_has() -> None:
    assert [pattern for pattern in PATTERNS if not pattern.startswith("!")] == ["*", "**/__pycache__"]
    assert {source.partition("/")[0] for copied in COPIED.values() for source in copied} == SENT

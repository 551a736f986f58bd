"""Provide an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.object_stores import S3, reached, s3_server


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    """A real server of S3, which the environment names, and a machine of its own: no other test's temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with s3_server() as server, reached(server, monkeypatch):
        yield server

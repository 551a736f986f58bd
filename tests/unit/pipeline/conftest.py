"""Provide an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.object_stores import S3, s3_server

from avizor_inference import object_store


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    """A real server of S3, which the environment names, and a machine of its own: no other test's temporary files."""
    with s3_server() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        object_store._store.cache_clear()  # of a server that another test has ended
        yield server
        object_store._store.cache_clear()

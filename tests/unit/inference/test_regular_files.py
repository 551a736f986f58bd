"""Files of settings are read, and nothing else is."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from avizor_inference.regular_files import read_regular


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 3) == b"abc"


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="a pipe or a device"):
            read_regular(path)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)


def test_no_more_is_read_than_is_allowed(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(OSError, match="more than 1 MiB"):
        read_regular(tmp_path / "file", 1 << 20)


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    """A worker under a ceiling of memory has not as much as the largest file would take."""
    (tmp_path / "file").write_bytes(b"abc" * (1 << 20))
    tracemalloc.start()
    try:
        assert len(read_regular(tmp_path / "file")) == 3 << 20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20

"""renewal.py: files are read again when they have changed, and once they rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from avizor_inference.errors import TokenFileError
from avizor_service.renewal import Renewal


class Reader:
    """Reads a file, which must not be `bad`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read: list[str] = []

    def __call__(self) -> None:
        text = self.path.read_text()
        if text == "bad":
            raise TokenFileError(f"{self.path}: is bad")
        self.read.append(text)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    path = tmp_path / "file"
    path.write_text("a")
    return Reader(path)


def test_what_has_not_changed_is_not_read_again_unless_it_is_asked_for(reader: Reader) -> None:
    renewal = Renewal([reader.path], reader)
    for asked in (False, False, True, False):
        renewal.look(asked)
    assert reader.read == ["a"]


def test_a_changed_file_is_read_once_it_rests(reader: Reader) -> None:
    renewal = Renewal([reader.path], reader)
    for text in ("ab", "abc"):
        reader.path.write_text(text)  # it is still being written
        renewal.look(False)
    assert reader.read == []
    renewal.look(False)
    renewal.look(False)
    assert reader.read == ["abc"]


def test_a_file_that_another_takes_the_place_of_is_read(reader: Reader) -> None:
    renewal = Renewal([reader.path], reader)
    other = reader.path.with_name("other")
    other.write_text("b")
    stat = reader.path.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(reader.path)
    renewal.look(False)
    renewal.look(False)
    assert reader.read == ["b"]


def test_a_link_that_leads_elsewhere_now_is_read_as_kubernetes_changes_secrets(tmp_path: Path, reader: Reader) -> None:
    link = tmp_path / "link"
    link.symlink_to(reader.path)
    reader.path = link
    renewal = Renewal([link], reader)
    (tmp_path / "b").write_text("b")
    (tmp_path / "new").symlink_to(tmp_path / "b")
    (tmp_path / "new").rename(link)
    renewal.look(False)
    renewal.look(False)
    assert reader.read == ["b"]


def test_a_file_that_cannot_be_used_is_named_until_it_can(reader: Reader) -> None:
    renewal = Renewal([reader.path], reader)
    reader.path.write_text("bad")
    renewal.look(False)
    for asked in (False, False, True, False):
        with pytest.raises(TokenFileError, match="file: is bad"):
            renewal.look(asked)
    reader.path.write_text("good")
    with pytest.raises(TokenFileError):
        renewal.look(False)
    renewal.look(False)
    renewal.look(False)
    assert reader.read == ["good"]


def test_a_file_that_is_gone_and_comes_back_is_read(reader: Reader) -> None:
    renewal = Renewal([reader.path], reader)
    reader.path.unlink()
    renewal.look(False)
    reader.path.write_text("back")
    renewal.look(False)
    renewal.look(False)
    assert reader.read == ["back"]

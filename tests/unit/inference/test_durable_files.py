"""durable_files.py: a reader sees a file either before or after a change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from avizor_inference.durable_files import is_temporary, make_folder, temporary_name, write_text


def test_a_file_is_written_and_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    for text in ("first", "second"):
        write_text(tmp_path / "job.json", text)
        assert (tmp_path / "job.json").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write_text(tmp_path / "job.json", "first")
    (tmp_path / "in the way").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "job.json", "second", tmp_path / "in the way")
    assert (tmp_path / "job.json").read_text() == "first"


def test_temporary_names_differ_and_are_known(tmp_path: Path) -> None:
    names = {temporary_name(tmp_path / "part.parquet") for _ in range(100)}
    assert len(names) == 100
    assert all(is_temporary(name) and name.parent == tmp_path for name in names)
    assert not is_temporary(tmp_path / "part.parquet")


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "a/b/c")
    make_folder(tmp_path / "a/b/c")
    assert (tmp_path / "a/b/c").is_dir()


@pytest.mark.parametrize("kind", ["a pipe", "a link to a device", "a link to standard output"])
def test_what_is_no_file_is_not_replaced_by_one(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(os.devnull if kind == "a link to a device" else "/proc/self/fd/1")
    before = path.lstat()
    with pytest.raises(OSError, match="it is a pipe or a device, and no file"):
        write_text(path, "text")
    assert (path.lstat().st_ino, list(tmp_path.iterdir())) == (before.st_ino, [path])


def test_a_link_to_a_file_is_replaced_as_before(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to("old")
    write_text(tmp_path / "link", "new")
    assert ((tmp_path / "link").read_text(), (tmp_path / "old").read_text()) == ("new", "old")


def test_an_error_names_the_file_that_was_to_be_written_and_not_the_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "nowhere" / "file", tmp_path / "folder"):
        with pytest.raises(OSError, match=r"No such file|Is a directory") as caught:
            write_text(place, "x")
        assert caught.value.filename == str(place)


WITHOUT_ROOM = """
import resource, tempfile
from avizor_inference.error_text import reason, remedy
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    tempfile.TemporaryDirectory()
except OSError as error:
    print(reason(error), remedy(error, "wrong"), sep="; ")
"""


def test_a_machine_without_room_for_temporary_files_is_told_so(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", WITHOUT_ROOM], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ended.stdout.startswith("no usable temporary directory found in ")
    assert ended.stdout.endswith(f", {tmp_path}; make room in one of them, or name a folder that can be written with TMPDIR\n")

"""items/dataset.py: what a listing of folders and files holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from avizor_inference.errors import DatasetError
from avizor_inference.items.dataset import Columns, list_dataset
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.kinds.audio import SoundFile
from avizor_inference.items.kinds.image import ImageFile
from avizor_inference.items.source_rule import SourceRule


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/two.wav", "a/one.wav", "a/notes.txt", "a/.hidden.wav", "top.flac"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
        os.utime(path, ns=(0, 5_000_000_000))
    return tmp_path / "data"


def test_files_come_in_one_order_with_source_size_and_time(folder: Path) -> None:
    entries = list(list_dataset([folder], SoundFile.suffixes))
    assert [(entry.uri, entry.source) for entry in entries] == [
        (str(folder / "a/one.wav"), "a"),
        (str(folder / "b/two.wav"), "b"),
        (str(folder / "top.flac"), "default"),
    ]
    assert {(entry.size, entry.modified_ns) for entry in entries} == {(4, 5_000_000_000)}


def test_what_is_left_out_is_counted(folder: Path) -> None:
    left_out = LeftOut()
    list(list_dataset([folder], SoundFile.suffixes, left_out=left_out))
    assert dict(left_out.counts) == {".txt": 1, "hidden": 1}


def test_a_file_that_is_named_itself_is_listed_whatever_its_suffix(folder: Path) -> None:
    (folder / "a/sound.raw").touch()
    (entry,) = list_dataset([folder / "a/sound.raw"], SoundFile.suffixes)
    assert (entry.path, entry.source) == (folder / "a/sound.raw", "default")


def test_a_rule_tells_the_source(folder: Path) -> None:
    sources = [entry.source for entry in list_dataset([folder], SoundFile.suffixes, SourceRule(r"(one|two)"))]
    assert sources == ["one", "two", "default"]


def test_a_link_that_leads_nowhere_is_listed_so_that_reading_it_says_why(folder: Path) -> None:
    (folder / "a/gone.wav").symlink_to("nowhere")
    entry = next(entry for entry in list_dataset([folder], SoundFile.suffixes) if entry.path.name == "gone.wav")
    assert (entry.size, entry.modified_ns) == (0, 0)


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere does not exist; give a folder of files, or one file"):
        list(list_dataset([tmp_path / "nowhere"], ImageFile.suffixes))


def test_files_that_the_shell_names_have_the_sources_that_they_have_in_their_folder(folder: Path) -> None:
    names = [*folder.glob("*.flac"), *folder.glob("*/[a-z]*.wav")]
    assert len({path.parent for path in names}) > 1
    listed = {entry.path: entry.source for entry in list_dataset([folder], SoundFile.suffixes)}
    assert {entry.path: entry.source for entry in list_dataset(names, SoundFile.suffixes)} == {
        path: listed[path] for path in names
    }
    for one in names:
        assert [entry.source for entry in list_dataset([one], SoundFile.suffixes)] == ["default"]


def test_a_named_file_that_comes_while_others_are_listed_is_listed(folder: Path) -> None:
    listed = list_dataset([folder / "a/one.wav", folder / "a/two.wav", folder / "b/late.wav"], SoundFile.suffixes)
    (folder / "a/two.wav").touch()
    assert next(listed).path == folder / "a/one.wav"
    (folder / "b/late.wav").touch()
    assert [entry.path for entry in listed] == [folder / "a/two.wav", folder / "b/late.wav"]


@pytest.mark.parametrize("name", ["pipe.wav", "list.txt", "table.csv", "63"])
def test_a_pipe_that_is_named_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DatasetError, match=f"{name} is a pipe; give a folder or a file$"):
        list(list_dataset([tmp_path / name], SoundFile.suffixes, columns=Columns(path="path")))

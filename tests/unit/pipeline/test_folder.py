"""sources/folder.py: the recordings of folders and single files, with their sources."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.object_stores import S3
from support.sounds import SAMPLE_RATE, SOUND, tone, write_wav

from avizor_inference.errors import DatasetError, MediaError, SettingsError
from avizor_inference.items.dataset import Entry
from avizor_inference.items.decode import decode_item
from avizor_inference.items.file_access import name_of
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.kinds.audio import SoundFile
from avizor_inference.items.kinds.base import Content
from avizor_inference.items.kinds.image import ImageFile
from avizor_inference.items.kinds.signal import SignalFile
from avizor_inference.items.kinds.table import TableRow
from avizor_pipeline.sources.folder import FolderSource


def opened(source: FolderSource, entry: Entry) -> Content:
    """What the only item of an entry holds."""
    ((_, content),) = source.open(entry)
    return content


def test_audio_files_are_listed_in_order_with_their_sources_and_the_rest_is_counted(tmp_path: Path) -> None:
    for name in ("b/1.wav", "a/2.WAV", "a/1.wav", "loose.wav"):
        write_wav(tmp_path / name, tone(0.1))
    (tmp_path / "a" / "notes.txt").touch()
    left_out = LeftOut()
    source = FolderSource([str(tmp_path)], [SoundFile])
    entries = list(source.list(left_out))
    assert [(Path(entry.uri).relative_to(tmp_path).as_posix(), entry.source) for entry in entries] == [
        ("a/1.wav", "a"),
        ("a/2.WAV", "a"),
        ("b/1.wav", "b"),
        ("loose.wav", "default"),
    ]
    assert [entry.size for entry in entries] == [entry.path.stat().st_size for entry in entries]
    assert str(left_out) == "1 .txt"
    assert list(source.list()) == entries


def test_a_pattern_names_the_sources(tmp_path: Path) -> None:
    write_wav(tmp_path / "fan_id_06.wav", tone(0.1))
    (entry,) = FolderSource([str(tmp_path)], [SoundFile], r"id_(\d+)").list()
    assert entry.source == "06"
    with pytest.raises(SettingsError, match="has no group"):
        FolderSource([str(tmp_path)], [SoundFile], r"id_\d+")


def test_an_entry_is_opened_as_sound_and_a_broken_one_says_so_when_it_is_read(tmp_path: Path) -> None:
    write_wav(tmp_path / "good.wav", tone(1.0))
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    source = FolderSource([str(tmp_path / "good.wav"), str(tmp_path / "bad.wav")], [SoundFile])
    good, bad = source.list()
    assert len(decode_item(opened(source, good), SOUND, 10).rows) == 2  # 8000 samples in windows of 4096
    with pytest.raises(MediaError):
        decode_item(opened(source, bad), SOUND, 10)


def test_a_root_whose_name_is_not_unicode_is_listed_and_opened(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    write_wav(tmp_path / "1.wav", tone(4096 / SAMPLE_RATE))
    folder.mkdir()
    (tmp_path / "1.wav").rename(folder / "1.wav")
    source = FolderSource([name_of(str(folder))], [SoundFile])
    (entry,) = source.list()
    assert entry.uri.startswith("bytes:")
    assert entry.uri.endswith("/caf%E9/1.wav")
    assert len(decode_item(opened(source, entry), SOUND, 10).rows) == 1


def test_a_root_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nothing does not exist; give a folder of files, or one file"):
        list(FolderSource([str(tmp_path / "nothing")], [SoundFile]).list())


def test_a_pipe_that_is_named_is_told_how_a_list_is_given(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.txt")
    with pytest.raises(DatasetError, match=r"list.txt is a pipe; .* \(`COMMAND | avizor batch -` reads a list of files\)$"):
        list(FolderSource([str(tmp_path / "list.txt")], [SoundFile]).list())


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("link", "x.wav", "x.wav is a link that leads to nothing; mend it, or mount what it leads to"),
        ("link", "folder", "folder is a link that leads to nothing"),
        ("link", "list.txt", "list.txt is a link that leads to nothing"),
        ("pipe", "x.wav", "x.wav is a pipe; give a folder or a file"),
        ("pipe", "pipe", "pipe is a pipe; give a folder or a file"),
        ("none", "x.wav", "x.wav does not exist"),
    ],
)
def test_what_cannot_be_read_is_listed_only_where_a_shell_may_have_named_it_as_one_file_of_several(
    tmp_path: Path, kind: str, name: str, says: str
) -> None:
    write_wav(tmp_path / "1.wav", tone(1.0))
    odd = tmp_path / name
    if kind == "link":
        odd.symlink_to("nothing")
    elif kind == "pipe":
        os.mkfifo(odd)
    with pytest.raises(DatasetError, match=says):
        list(FolderSource([str(odd)], [SoundFile]).list())
    both = FolderSource([str(tmp_path / "1.wav"), str(odd)], [SoundFile])
    if name != "x.wav" or kind == "none":
        with pytest.raises(DatasetError, match=says):
            list(both.list())
        return
    assert list(both.list()) == list(FolderSource([str(tmp_path)], [SoundFile]).list())
    with pytest.raises(MediaError, match=r"a link that leads to no file|not a file but a pipe"):
        decode_item(opened(both, list(both.list())[1]), SOUND, 10)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("rows.csv.gz", "; unpack it: gunzip -k '{}'"),
        ("notes.docx", ""),
        ("photo.heic", "; to read .heic: convert them to JPEG or PNG"),
    ],
)
def test_a_named_file_of_no_kind_that_is_read_is_refused(tmp_path: Path, name: str, how: str) -> None:
    (folder := tmp_path / "a folder").mkdir()
    (folder / name).write_bytes(b"\x00\x01\x02" * 100)
    source = FolderSource([str(folder / name)], [ImageFile])
    with pytest.raises(DatasetError) as caught:
        list(source.list())
    said = f"{folder / name} is no file that the models take; they take files that end in .bmp, .gif, .jpeg, "
    assert str(caught.value).startswith(said)
    assert how.format(folder / name) in str(caught.value)
    left_out = LeftOut()
    assert list(FolderSource([str(folder)], [ImageFile]).list(left_out)) == []
    assert sum(left_out.counts.values()) == 1


def office_document() -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "how"),
    [
        ("notes.docx", office_document(), ""),
        ("rows.zip", office_document(), "; unpack it: unzip {}"),
        ("rows.bz2", bz2.compress(b"1,2"), "; unpack it: bunzip2 -k {}"),
        (
            "x.dat",
            "a,b\n1,2\n".encode("utf-16"),
            "; it is in UTF-16, not in UTF-8; convert it with `iconv -f UTF-16 ",
        ),
    ],
)
def test_a_named_file_of_no_kind_of_signals_is_refused(tmp_path: Path, name: str, content: bytes, how: str) -> None:
    (path := tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=re.escape(f".wave{how.format(path)}") + ("$" if "UTF" not in how else "")):
        list(FolderSource([str(path)], [SignalFile]).list())


def test_arrays_and_texts_that_are_named_are_signals_whatever_their_suffix(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)))
    paths = [(tmp_path / "a.npz").rename(tmp_path / "rec.1"), tmp_path / "rec.2"]
    paths[1].write_text("1,2\n")
    for path in paths:
        assert [entry.path for entry in FolderSource([str(path)], [SignalFile]).list()] == [path]


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        ("0.1,0.2\n0.3,0.4\n", True),
        ("\ufefftime;ax\n2024-05-01 10:00;-1e-3\n", True),
        ('"ax"\r\n"0.5"\r\n', True),
        ("0.1 0.2\n", True),
        (",".join(f"channel {number}" for number in range(500)) + "\n" + "0," * 499 + "0\n", True),
        ("Recordings of line 4, bearing 2\n===============================\n\n0.1,0.2\n", False),
        ("2024-05-01 10:00:00,123 INFO begun\n2024-05-01 10:00:02,456 INFO ended\n", False),
        ("", False),
        ("7\n8\n", True),
        ("0.5\n", True),
        ("nan,nan\n0.5,nan\n", True),
        ("1,2\nx,2\n", True),  # it is damaged, which is told of it
        ("[g],[m/s]\n0.1,0.2\n", True),
        (" ".join(str(number / 7) for number in range(900)), True),
        (",".join(str(number / 7) for number in range(900)), True),
        (json.dumps({f"key {number}": number for number in range(900)}), False),
        (json.dumps([{"t": number, "x": 0.5} for number in range(900)]), False),
        (json.dumps(list(range(900))), False),
        (json.dumps(list(range(9)), indent=1), False),
        ("\ufeff" + json.dumps(list(range(9)), indent=1), False),
        ("1\n00:00:01,000 --> 00:00:04,000\nWhere is it?\n", False),
        ("Infinity, a poem\nAll that is, is more\n", False),
        ("Infinity\n\nAll that is, is more\n", False),
        ("Nan, who was 90\nwas my grandmother\n", False),
        ("Line 4, 1999\nThe bearing was changed.\n", False),
        ("var " + ",".join(f"a{number}={{}}" for number in range(900)), False),
        ("It was in May, and the bearing was changed by those who came after the others had gone home for good. " * 50, False),
    ],
)
def test_a_text_of_another_suffix_is_a_signal_if_it_begins_with_numbers(tmp_path: Path, text: str, is_read: bool) -> None:
    (tmp_path / "1.csv").write_text("1,2\n")
    (tmp_path / "x.log").write_text(text)
    left_out, names = LeftOut(), [str(tmp_path / "1.csv"), str(tmp_path / "x.log")]
    listed = [entry.uri for entry in FolderSource(names, [SignalFile]).list(left_out)]
    assert listed == names[: 1 + is_read]
    assert left_out.counts == ({} if is_read else {".log": 1})


def test_a_named_object_of_no_kind_is_refused_without_a_command_that_works_on_files(s3: S3) -> None:
    s3.put("rows.csv.gz", gzip.compress(b"1,2"))
    with pytest.raises(DatasetError, match=r"^s3://.*/rows.csv.gz is no file that the models take; .*; unpack it$"):
        list(FolderSource([s3.url("rows.csv.gz")], [ImageFile]).list())


@pytest.mark.parametrize("more", ["1.wav", "folder"])
def test_files_of_no_kind_that_a_shell_names_with_others_are_left_out_as_in_their_folder(tmp_path: Path, more: str) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("1.wav", "folder/2.wav", "Thumbs.db", "x.dat"):
        (tmp_path / name).touch()
    names, left_out = [str(tmp_path / name) for name in ("Thumbs.db", more, "x.dat")], LeftOut()
    assert len(list(FolderSource(names, [SoundFile], limit=5).list(left_out))) == 1
    assert left_out.counts == {".db": 1, ".dat": 1}
    with pytest.raises(DatasetError, match=r"Thumbs.db is no file that the models take"):
        list(FolderSource([names[0], names[2]], [SoundFile]).list())


def test_a_named_file_of_rows_with_another_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(DatasetError, match=r"take files that end in \.csv, \.npy, \.npz, \.parquet$"):
        list(FolderSource([str(tmp_path / "rows.tsv")], [TableRow]).list())


def test_a_named_file_of_any_suffix_is_taken_if_it_begins_like_one_that_is_read(tmp_path: Path) -> None:
    write_wav(tmp_path / "1.wav", tone(4096 / SAMPLE_RATE))
    (tmp_path / "1.wav").rename(tmp_path / "rec.2024-05-01")
    source = FolderSource([str(tmp_path / "rec.2024-05-01")], [SoundFile])
    (entry,) = source.list()
    assert len(decode_item(opened(source, entry), SOUND, 10).rows) == 1

"""items/file_access.py and find_files.py: other things than good files in a folder are found, counted, and never waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path, PurePath

import pytest

from avizor_inference.errors import MediaError
from avizor_inference.items.audio_file import AudioFile
from avizor_inference.items.containers.detect import AUDIO_SUFFIXES
from avizor_inference.items.file_access import name_of, open_file, path_of, state_at, state_of, text_of
from avizor_inference.items.find_files import LeftOut, find_files, names_of_files, suffix_in
from avizor_inference.items.source_rule import SourceRule


def found(folder: Path, left_out: LeftOut | None = None) -> list[str]:
    return [str(path.relative_to(folder)) for path in find_files(folder, AUDIO_SUFFIXES, left_out)]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_may_be_nested_deeper_than_calls_may(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(600):
        deep = deep / "d"
    touch(deep / "1.wav", tmp_path / "2.wav")
    assert [Path(each).name for each in found(tmp_path)] == ["2.wav", "1.wav"]


@pytest.mark.slow
def test_folders_that_link_to_each_other_are_told_and_not_walked_for_ever(tmp_path: Path) -> None:
    for number in range(11):
        touch(tmp_path / f"f{number}" / "1.wav")
        for other in range(11):
            if other != number:
                (tmp_path / f"f{number}" / f"to{other}").symlink_to(tmp_path / f"f{other}")
    with pytest.raises(OSError, match="symbolic links"):
        found(tmp_path)


def test_files_are_sorted_hidden_ones_left_out_and_links_followed_but_not_into_themselves(tmp_path: Path) -> None:
    data = tmp_path / "data"
    touch(data / "b/2.wav", data / "a/1.FLAC", data / ".hidden/3.wav", data / "._4.mp3", data / "a/notes.txt", data / "4.mp3")
    touch(data / "x.wav" / "5.wav", tmp_path / "elsewhere" / "6.ogg")
    (data / "b" / "loop").symlink_to(data)
    (data / "linked").symlink_to(tmp_path / "elsewhere")
    left_out = LeftOut()
    assert found(data, left_out) == ["4.mp3", "a/1.FLAC", "b/2.wav", "linked/6.ogg", "x.wav/5.wav"]
    assert str(left_out) == "2 hidden, 1 .txt"


def test_what_is_left_out_is_counted_by_suffix_and_in_bounded_memory(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{number}.m4a" for number in range(3)), tmp_path / "README", tmp_path / "x.wma")
    touch(*(tmp_path / f"part.2024-01-{number:02}T120000" for number in range(20)), tmp_path / "evil.\n")
    left_out = LeftOut()
    assert found(tmp_path, left_out) == []
    assert str(left_out) == "21 of other suffixes, 3 .m4a, 1 .wma, 1 without suffix"


@pytest.mark.parametrize("suffix", sorted(AUDIO_SUFFIXES))
def test_every_suffix_that_is_listed_is_found_in_either_case(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path / f"a{suffix}", tmp_path / f"b{suffix.upper()}")
    assert len(found(tmp_path)) == 2


def test_a_name_that_leads_to_no_file_is_found_and_reading_it_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "dangling.wav").symlink_to("/nonexistent/x.wav")
    (tmp_path / "itself.wav").symlink_to(tmp_path / "itself.wav")
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    (tmp_path / "dangling").symlink_to("/nonexistent")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.wav"))
        reasons = {}
        for path in find_files(tmp_path, AUDIO_SUFFIXES):
            with pytest.raises(MediaError) as caught:
                AudioFile(path)
            reasons[path.name] = str(caught.value)
    assert reasons == {
        "dangling.wav": "a link that leads to no file (No such file or directory)",
        "device.wav": "not a file but a device",
        "itself.wav": "a link that leads to no file (Too many levels of symbolic links)",
        "pipe.wav": "not a file but a pipe",
        "socket.wav": "not a file but a socket",
    }


def test_a_file_that_has_become_a_folder_is_called_one(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    (path,) = find_files(tmp_path, AUDIO_SUFFIXES)
    path.unlink()
    path.mkdir()
    with pytest.raises(MediaError, match=r"^not a file but a folder$"):
        open_file(path)


def test_a_folder_whose_path_is_too_long_to_be_listed_costs_itself(tmp_path: Path) -> None:
    """ProvenGraph from within, as a copy with relative paths makes it; the path from above is over the system's 4,096 bytes."""
    touch(tmp_path / "a.wav", tmp_path / "z.wav")
    before = Path.cwd()
    (tmp_path / "deep").mkdir()
    os.chdir(tmp_path / "deep")
    try:
        for _ in range(20):
            Path("d" * 250).mkdir()
            os.chdir("d" * 250)
        Path("x.wav").touch()
    finally:
        os.chdir(before)
    names = [path.name for path in find_files(tmp_path, AUDIO_SUFFIXES)]
    assert names == ["a.wav", "d" * 250, "z.wav"]
    (deep,) = (path for path in find_files(tmp_path, AUDIO_SUFFIXES) if path.name.startswith("d"))
    with pytest.raises(MediaError, match="File name too long"):
        open_file(deep)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_costs_itself(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav", tmp_path / "locked" / "b.wav", tmp_path / "c.wav")
    (tmp_path / "locked").chmod(0)
    (tmp_path / "c.wav").chmod(0)
    try:
        assert found(tmp_path) == ["a.wav", "c.wav", "locked"]
        with pytest.raises(MediaError, match="a folder that cannot be listed"):
            open_file(tmp_path / "locked")
        with pytest.raises(MediaError, match="Permission denied"):
            open_file(tmp_path / "c.wav")
    finally:
        (tmp_path / "locked").chmod(0o700)


@pytest.mark.parametrize(
    "raw",
    [b"plain.wav", "caf\u00e9.wav".encode(), b"caf\xe9.wav", b"a b%41/\xff\xfe.wav", b"bytes:x.wav", b"bytes:%e9", b"new\nline",
     b"\\xe9.wav", bytes(range(1, 256))],
)  # fmt: skip
def test_a_name_goes_to_valid_text_and_back(raw: bytes) -> None:
    name = name_of(os.fsdecode(raw))
    name.encode()
    assert os.fsencode(path_of(name)) == os.fsencode(Path(os.fsdecode(raw)))


def test_names_that_differ_stay_different() -> None:
    raw = [b"caf\xe9.wav", b"caf%E9.wav", b"bytes:caf%E9.wav", b"caf\\xe9.wav", "caf\u00e9.wav".encode()]
    assert len({name_of(os.fsdecode(each)) for each in raw}) == len(raw)
    assert name_of(os.fsdecode(raw[0])) == "bytes:caf%E9.wav"


@pytest.mark.parametrize(
    "raw", [b"/a/b.wav", b"a", b"caf\xe9.wav", b"bytes:caf%E9.wav", b"s3://bucket/a b.wav", b"https://host:80/a"]
)
def test_a_name_leads_to_the_text_of_its_path(raw: bytes) -> None:
    path = Path(os.fsdecode(raw))
    assert text_of(name_of(str(path))) == str(path) == str(path_of(name_of(str(path))))


@pytest.mark.parametrize(
    "name", ["a.wav", "a.WAV", ".wav", "..wav", "a.", "a", "a.b/c", "a.tar.gz", "x.tar#b/1.png", "a.csv#12", "a b.c d"]
)
def test_the_suffix_in_a_text_is_that_which_pathlib_finds(name: str) -> None:
    assert suffix_in(name) == suffix_in(f"folder.x/{name}") == PurePath(name).suffix.lower()


def test_files_have_the_names_that_pathlib_gives_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a" / "b" / "1.wav", tmp_path / "2.wav")
    monkeypatch.chdir(tmp_path)
    for folder, before in ((tmp_path, f"{tmp_path}/"), (Path(), ""), (Path("a/../a"), "a/../a/")):
        files = list(names_of_files(folder, AUDIO_SUFFIXES))
        assert files
        for path, relative in files:
            assert (path, relative) == (before + relative, str(Path(path).relative_to(folder)))
            assert str(Path(path)) == path


def test_sources_are_valid_text_too() -> None:
    path = Path(os.fsdecode(b"caf\xe9/x_\xe9.wav"))
    assert SourceRule().source_of(path) == "bytes:caf%E9"
    assert SourceRule("_(.)").source_of(path) == "bytes:%E9"


def test_a_file_that_is_written_while_it_is_read_is_refused(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", [0.1] * 100000, 8000)
    with AudioFile(tmp_path / "a.wav") as audio:
        blocks = audio.blocks()
        next(blocks)
        with (tmp_path / "a.wav").open("ab") as file:
            file.write(bytes(100))
        with pytest.raises(MediaError, match="was changed while it was read"):
            list(blocks)


def test_a_time_of_change_that_64_bits_do_not_hold_is_the_last_that_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"12345")
    in_2400 = 13_569_465_600 * 10**9
    os.utime(path, ns=(0, in_2400))
    if path.stat().st_mtime_ns != in_2400:
        pytest.skip("this file system has no such times")
    assert state_at(path) == (5, 2**63 - 1)
    with open_file(path) as file:
        assert state_of(file) == (5, 2**63 - 1)

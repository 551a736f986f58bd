"""tar_files.py: the files in tars as items, listed once and read where they are."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest
from support.packed import png, write_tar
from support.sounds import SOUND, tone, write_wav

from avizor_inference.errors import MediaError
from avizor_inference.items.data import tar_files
from avizor_inference.items.data.tar_files import TAR_SUFFIXES, TarPack
from avizor_inference.items.dataset import Entry, list_dataset
from avizor_inference.items.decode import decode_item
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.kinds.audio import SoundFile
from avizor_inference.items.kinds.base import FileContent
from avizor_inference.items.kinds.image import ImageFile
from avizor_inference.items.source_rule import SourceRule


def listed(path: Path, pack: TarPack, left_out: LeftOut | None = None, rule: SourceRule | None = None) -> list[Entry]:
    packs = dict.fromkeys(TAR_SUFFIXES, pack)
    return list(list_dataset([path], frozenset(packs), rule, left_out, packs=packs))


def data_of(pack: TarPack, entry: Entry) -> bytes:
    ((item, content),) = pack.open(entry)
    assert item == entry
    assert isinstance(content, FileContent)
    with content.open() as file:
        return file.read()


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz", "shard.tgz"])
def test_each_file_of_the_kinds_is_an_item_in_any_order(name: str, tmp_path: Path) -> None:
    files = {f"./a/{number}.PNG": png(number) for number in range(3)} | {"0.jpg": b"jpg", "a/0.json": b"{}", "b/._0.png": b"x"}
    path = write_tar(tmp_path / name, files)
    pack, left_out = TarPack([ImageFile]), LeftOut()
    entries = listed(path, pack, left_out)
    assert [(entry.uri, entry.source) for entry in entries] == [
        *((f"{path}#a/{number}.PNG", "a") for number in range(3)),
        (f"{path}#0.jpg", "default"),
    ]
    assert [entry.size for entry in entries] == [len(png(0)), len(png(1)), len(png(2)), 3]
    assert left_out.counts == {".json": 1, "hidden": 1}
    for place in (2, 0, 3, 1):
        assert data_of(pack, entries[place]) == list(files.values())[place]


def test_the_source_is_a_folder_in_the_tar_or_around_it_or_by_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "fan").mkdir()
    write_tar(tmp_path / "fan" / "1.tar", {"1.png": png(0), "pump/2.png": png(1)})
    assert [entry.source for entry in listed(tmp_path, TarPack([ImageFile]))] == ["fan", "pump"]
    assert [entry.source for entry in listed(tmp_path, TarPack([ImageFile]), rule=SourceRule(r"(\d)\.png"))] == ["1", "2"]


@pytest.mark.parametrize("name", ["cut.tar", "cut.tar.gz"])
def test_a_cut_tar_gives_what_is_whole_and_then_says_so(name: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / name, {f"{number}.png": os.urandom(5000) for number in range(4)})
    path.write_bytes(path.read_bytes()[: 2 * (512 + 5120) + 2000 if name == "cut.tar" else -3000])
    pack = TarPack([ImageFile])
    *whole, rest = listed(path, pack)
    assert len(whole) in (2, 3)
    assert [len(data_of(pack, entry)) for entry in whole] == [5000] * len(whole)
    assert (rest.uri, rest.part) == (str(path), None)
    with pytest.raises(MediaError, match=r"cut off: it ends within 2\.png|cannot be read on"):
        list(pack.open(rest))


def test_damage_between_files_and_a_missing_end_are_told(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"0.png": b"x" * 512, "1.png": b"y" * 512})
    whole = path.read_bytes()
    pack = TarPack([ImageFile])
    for data, message in (
        (whole[:1024] + b"\1" * 512 + whole[1536:], "damaged at byte 1024"),
        (whole[:2048], "no end mark after 2048"),
        (b"no tar" * 100, "this is no tar, or it is damaged at its beginning"),
        (gzip.compress(whole) + bytes(512), "compressed by gzip: let its name end in .tar.gz"),
    ):
        path.write_bytes(data)
        with pytest.raises(MediaError, match=message):
            list(pack.open(listed(path, pack)[-1]))


def test_joined_tars_are_read_whole_and_a_name_that_comes_again_once(tmp_path: Path) -> None:
    first, second = (write_tar(tmp_path / f"{name}.tar", {"0.png": name.encode(), f"{name}.png": b"z"}) for name in "ab")
    path = tmp_path / "both.tar"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    pack, left_out = TarPack([ImageFile]), LeftOut()
    entries = listed(path, pack, left_out)
    assert [entry.uri.partition("#")[2] for entry in entries] == ["0.png", "a.png", "b.png"]
    assert data_of(pack, entries[0]) == b"a"
    assert left_out.counts == {"listed again": 1}


def test_long_names_odd_names_and_links(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    long = "folder/" * 40 + "0.png"
    with tarfile.open(path, "w") as tar:
        for name in (long, os.fsdecode(b"caf\xe9.png")):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "0.png"
        tar.addfile(link)
    pack, left_out = TarPack([ImageFile]), LeftOut()
    entries = listed(path, pack, left_out)
    assert [entry.uri.rpartition("#")[2] for entry in entries] == [long, "bytes:caf%E9.png"]
    assert [data_of(pack, entry) for entry in entries] == [b"x", b"x"]
    assert left_out.counts == {"links in tars": 1}


def test_a_long_sound_is_read_where_it_is_unless_the_tar_is_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wav(tmp_path / "1.wav", tone(3.0))
    sound = (tmp_path / "1.wav").read_bytes()
    monkeypatch.setattr(tar_files, "_IN_MEMORY", 1000)
    monkeypatch.setattr(tar_files, "_MOST_COMPRESSED", 2000)
    wanted = decode_item(SoundFile(sound), SOUND).rows
    pack = TarPack([SoundFile])
    (entry,) = listed(write_tar(tmp_path / "a.tar", {"1.wav": sound}), pack)
    ((_, content),) = pack.open(entry)
    assert (decode_item(content, SOUND).rows == wanted).all()
    (entry,) = listed(write_tar(tmp_path / "a.tgz", {"1.wav": sound}), pack)
    with pytest.raises(MediaError, match=r"from a compressed tar 2,000 are read: use a \.tar"):
        list(pack.open(entry))


def test_a_tar_that_was_written_anew_is_not_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"0.png": b"a", "1.png": b"b"})
    pack = TarPack([ImageFile])
    first, second = listed(path, pack)
    assert data_of(pack, first) == b"a"
    write_tar(path, {"1.png": b"b", "0.png": b"a"})
    with pytest.raises(MediaError, match="was changed since it was listed"):
        list(TarPack([ImageFile]).open(second))


def header(kind: bytes, size: int, name: str = "a.png") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def sparse_without_its_map() -> bytes:
    """A file of GNU's old sparse format that says that more of its map follows."""
    block = bytearray(header(tarfile.GNUTYPE_SPARSE, 0))
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "damaged",
    [
        header(tarfile.XHDTYPE, 2**40) + b"13 path=x.wav\n".ljust(512, b"\0"),
        header(tarfile.GNUTYPE_LONGNAME, 2**33) + b"x".ljust(512, b"\0"),
        header(tarfile.GNUTYPE_LONGNAME, -1024) + bytes(1024),
        header(tarfile.REGTYPE, -1024),
        header(tarfile.REGTYPE, 2**70),
        header(tarfile.GNUTYPE_LONGNAME, 0) * 1000,
        sparse_without_its_map(),
    ],
    ids=["attributes", "long name", "name of less than nothing", "less than nothing", "more than any disk", "chain", "sparse"],
)
def test_a_header_with_a_senseless_size_ends_its_tar_alone_in_bounded_memory(damaged: bytes, tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", {"1.png": png(0)}).read_bytes()
    path, pack = tmp_path / "a.tar", TarPack([ImageFile])
    path.write_bytes(whole.rstrip(b"\0").ljust(-(-len(whole.rstrip(b"\0")) // 512) * 512, b"\0") + damaged)
    tracemalloc.start()
    first, rest = listed(path, pack)
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()
    assert (first.uri, rest.uri) == (f"{path}#1.png", str(path))
    assert data_of(pack, first) == png(0)
    with pytest.raises(MediaError, match=r"^the tar (is damaged|was cut off|cannot be read on)"):
        list(pack.open(rest))


class Unexpected(TarPack):
    """Fails as a reader of a damaged file does that nobody thought of."""

    def parts(self, file: Entry, relative: PurePath, rule: SourceRule, left_out: LeftOut) -> Iterator[Entry]:
        yield from super().parts(file, relative, rule, left_out)
        raise IndexError("of a map")


def test_an_error_that_nobody_expected_costs_its_file_alone(tmp_path: Path) -> None:
    path, pack = write_tar(tmp_path / "a.tar", {"1.png": png(0)}), Unexpected([ImageFile])
    assert [entry.uri for entry in listed(path, pack)] == [f"{path}#1.png", str(path)]
    with pytest.raises(MediaError, match=r"^the file cannot be read \(IndexError: of a map\)$"):
        list(pack.open(listed(path, pack)[-1]))

"""numpy_headers: a file of numpy is read although another thread parses Python in the middle, and a hostile one is refused."""

from __future__ import annotations

import ast
import gc
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from support.object_stores import http_files

from avizor_client.errors import InputError
from avizor_client.items import _open_array as read_by_client
from avizor_inference.digests import sha256_of_file
from avizor_inference.error_text import lacks_memory
from avizor_inference.errors import DatasetError, MediaError, SettingsError, VersionRefused
from avizor_inference.items.data.array_files import ArrayPack
from avizor_inference.items.data.arrays import open_array, read_arrays
from avizor_inference.items.dataset import list_dataset
from avizor_inference.items.input_spec import SignalInput
from avizor_inference.items.kinds.signal import SignalFile
from avizor_inference.repository.probe import Probe
from avizor_pipeline.projection.map_file import read_map

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
# Texts that Python's tokenizer, its parser, numpy, and what reads the values each answer with an error of its own.
HOSTILE = {
    "open": "(",
    "unhashable": "{[]: 1}",
    "deep": "-" * 9000 + "1",
    "indented": "1\n  2\n 3",
    "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}",
    "beyond 64 bits": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000000000000, 4)}",
}


@contextmanager
def collections_that_parse() -> Iterator[None]:
    """Let the garbage collector do what it does to a task whose error nobody asked for: print a traceback, which is parsed."""

    def parse(depth: int) -> None:
        if depth:
            parse(depth - 1)
        else:
            ast.parse("1 + 1")

    def parse_deeper(phase: str, info: dict[str, int]) -> None:
        parse(5)

    before = gc.get_threshold()
    gc.freeze()  # a collection else looks at all objects of all tests before
    gc.callbacks.append(parse_deeper)
    try:
        yield
    finally:
        gc.callbacks.remove(parse_deeper)
        gc.unfreeze()
        gc.set_threshold(*before)


def as_npy(path: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, VALUES)
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def read_probe(folder: Path) -> Callable[[], object]:
    sha256 = Probe(VALUES, {"score": VALUES}).write(folder / "probe.npz")
    return lambda: Probe.read(folder / "probe.npz", sha256)


def read_signal(folder: Path) -> Callable[[], object]:
    content, spec = as_npy(folder / "a.npy"), SignalInput(channels=4, window_samples=4, hop_samples=4)
    return lambda: list(SignalFile(content).rows([spec], None))


def read_items(folder: Path) -> Callable[[], object]:
    as_npy(folder / "a.npy")
    pack = ArrayPack(in_folders=True)
    (entry,) = list_dataset([folder / "a.npy"], frozenset(), packs={".npy": pack})
    return lambda: list(pack.open(entry))


def read_array(folder: Path) -> Callable[[], object]:
    as_npy(folder / "a.npy")
    return lambda: open_array(folder / "a.npy")


def read_in_client(folder: Path) -> Callable[[], object]:
    as_npy(folder / "a.npy")
    return lambda: read_by_client(folder / "a.npy")


def read_named(folder: Path) -> Callable[[], object]:
    np.savez(folder / "a.npz", a=VALUES, b=VALUES)
    return lambda: read_arrays(folder / "a.npz", "a", "b")


def read_the_map(folder: Path) -> Callable[[], object]:
    np.savez(folder / "map.npz", format=np.asarray(0), places=VALUES)

    def read() -> None:
        with pytest.raises(SettingsError, match="not a map of this version"):  # said after all headers have been read
            read_map(str(folder / "map.npz"), "normal", "tsne")

    return read


@pytest.mark.parametrize("reader", [read_probe, read_signal, read_items, read_array, read_named, read_the_map, read_in_client])
def test_a_header_that_is_disturbed_is_read_again(reader: Callable[[Path], Callable[[], object]], tmp_path: Path) -> None:
    check_disturbed(reader(tmp_path))


def test_the_header_of_an_object_that_is_disturbed_is_read_again(tmp_path: Path) -> None:
    as_npy(tmp_path / "a.npy")
    with http_files(tmp_path) as address:
        check_disturbed(lambda: open_array(Path(f"{address}/a.npy")))


def check_disturbed(read: Callable[[], object]) -> None:
    with collections_that_parse():
        for place in range(300):
            gc.collect()
            gc.set_threshold(300)
            held: list[object] = [[] for _ in range(300 - place)]  # the collector comes at another place each time
            read()
            del held


def hostile(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode() + VALUES.tobytes()


def hostile_npz(path: Path, text: str, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"{name}.npy", hostile(text))
    return path


def refused_item(folder: Path, text: str, suffix: str) -> None:
    path, pack = folder / f"a{suffix}", ArrayPack(in_folders=True)
    if suffix == ".npy":
        path.write_bytes(hostile(text))
    else:
        hostile_npz(path, text, "a")
    (entry,) = list_dataset([path], frozenset(), packs={suffix: pack})
    list(pack.open(entry))


def refused_signal(folder: Path, text: str) -> None:
    spec = SignalInput(channels=4, window_samples=4, hop_samples=4)
    list(SignalFile(hostile(text)).rows([spec], None))


def refused_array(folder: Path, text: str) -> None:
    (folder / "a.npy").write_bytes(hostile(text))
    open_array(folder / "a.npy")


def refused_probe(folder: Path, text: str) -> None:
    path = hostile_npz(folder / "probe.npz", text, "items", "output.score")
    Probe.read(path, sha256_of_file(path))


def refused_by_client(folder: Path, text: str) -> None:
    (folder / "a.npy").write_bytes(hostile(text))
    read_by_client(folder / "a.npy")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(
    ("read", "error"),
    [
        (lambda folder, text: refused_item(folder, text, ".npy"), MediaError),
        (lambda folder, text: refused_item(folder, text, ".npz"), MediaError),
        (refused_signal, MediaError),
        (refused_array, DatasetError),
        (lambda folder, text: read_arrays(hostile_npz(folder / "a.npz", text, "a"), "a"), DatasetError),
        (refused_probe, VersionRefused),
        (lambda folder, text: read_map(str(hostile_npz(folder / "a.npz", text, "a")), "normal", "tsne"), SettingsError),
        (refused_by_client, InputError),
    ],
    ids=["item", "item of npz", "signal", "array", "array of npz", "probe", "map", "client"],
)
def test_a_hostile_header_is_a_file_that_cannot_be_read(
    read: Callable[[Path, str], object], error: type[Exception], text: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        read(tmp_path, text)
    if error is MediaError:  # else a job, or a gateway, tries the file again where there is more memory
        assert not lacks_memory(caught.value)


def test_an_array_whose_items_hold_nothing_is_refused_and_not_listed_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(hostile("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 0)}"))
    pack = ArrayPack(in_folders=True)
    (entry,) = islice(list_dataset([path], frozenset(), packs={".npy": pack}), 2)
    with pytest.raises(MediaError, match=r"the shape \[1000000000000, 0\]; .* holds no values"):
        list(pack.open(entry))

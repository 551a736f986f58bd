"""numpy_headers: a file of numpy is read although the garbage collector or another thread parses Python in the middle."""

from __future__ import annotations

import ast
import gc
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from avizor_inference.errors import SettingsError
from avizor_inference.items.data.array_files import ArrayPack
from avizor_inference.items.data.arrays import open_array, read_arrays
from avizor_inference.items.dataset import list_dataset
from avizor_inference.items.input_spec import SignalInput
from avizor_inference.items.kinds.signal import SignalFile
from avizor_inference.repository.probe import Probe
from avizor_pipeline.projection.map_file import read_map

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


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


def read_named(folder: Path) -> Callable[[], object]:
    np.savez(folder / "a.npz", a=VALUES, b=VALUES)
    return lambda: read_arrays(folder / "a.npz", "a", "b")


def read_the_map(folder: Path) -> Callable[[], object]:
    np.savez(folder / "map.npz", format=np.asarray(0), places=VALUES)

    def read() -> None:
        with pytest.raises(SettingsError, match="not a map of this version"):  # said after all headers have been read
            read_map(str(folder / "map.npz"), "normal", "tsne")

    return read


@pytest.mark.parametrize("reader", [read_probe, read_signal, read_items, read_array, read_named, read_the_map])
def test_a_header_that_is_disturbed_is_read_again(reader: Callable[[Path], Callable[[], object]], tmp_path: Path) -> None:
    read = reader(tmp_path)
    with collections_that_parse():
        for place in range(300):
            gc.collect()
            gc.set_threshold(300)
            held: list[object] = [[] for _ in range(300 - place)]  # the collector comes at another place each time
            read()
            del held

"""A job over the spoken digits with sixty broken files among them, of twenty kinds: some hang, and some kill who reads them."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from integration.jobs import command, query
from support.sounds import tone

RATE = 8000
OF_EACH = 3
HOSTILE = Path(__file__).parents[2] / "support" / "hostile_files"


def wav(
    rate: int = RATE, channels: int = 1, bits: int = 16, tag: int = 1, data: bytes = b"\0\0" * 4000, more: int = 0
) -> bytes:
    """Return a WAV file whose header may say what is not so. more: bytes that it says there are beyond the data."""
    bits = 16
    frame = channels * bits // 8
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    size = len(data) + more
    return struct.pack("<4sI4s4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16) + fmt + struct.pack("<4sI", b"data", size) + data


def _floats(value: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        samples = tone(0.5)
        samples[1000] = value
        soundfile.write(path, samples, RATE, subtype="FLOAT", format="WAV")

    return write


def _damaged(suffix: str, damage: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        whole = path.with_suffix(suffix)
        soundfile.write(whole, np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE), RATE)
        data = damage(whole.read_bytes())
        whole.unlink()
        path.write_bytes(data)

    return write


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        before = Path.cwd()
        os.chdir(path.parent)  # the name of a socket is at most about a hundred bytes long
        try:
            bound.bind(path.name)
        finally:
            os.chdir(before)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _altered(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0x55 for byte in data[middle : middle + 64]) + data[middle + 64 :]


KINDS: dict[str, Callable[[Path], object]] = {
    "empty": _bytes(b""),
    "noise": _bytes(np.random.default_rng(1).bytes(20_000)),
    "zeros": _bytes(bytes(44_100)),
    "text": _bytes(b"<html><body>404 Not Found</body></html>\n" * 50),
    "picture": _bytes(b"\x89PNG\r\n\x1a\n" + bytes(2000)),
    "cut_wav": _bytes(wav(more=4000)),
    "header_alone": _bytes(wav(data=b"")),
    "one_hertz": _bytes(wav(rate=1)),
    "no_channels": _bytes(wav(channels=0)),
    "unknown_codec": _bytes(wav(tag=0x9999)),
    "not_a_number": _floats(np.nan),
    "infinite": _floats(np.inf),
    "cut_flac": _damaged(".flac", _cut),
    "altered_flac": _damaged(".flac", _altered),
    "cut_ogg": _damaged(".ogg", _cut),
    "dangling_link": lambda path: path.symlink_to("nothing.wav"),
    "pipe": os.mkfifo,
    "socket": _socket,
    "kills": _bytes(b"KILL"),
    "hangs": _bytes(b"HANG"),
}
SUFFIXES = {"cut_flac": ".flac", "altered_flac": ".flac", "cut_ogg": ".ogg"}


def _rows(out: Path, table: str) -> list[tuple[object, ...]]:
    named = "regexp_extract(uri, '[^/]*$') as name, * exclude (uri, source)"
    return query(f"select {named} from '{out}/{table}/*.parquet' order by all")


@pytest.mark.slow
def test_sixty_broken_files_among_three_thousand_cost_only_themselves(models: Path, shared_data: Path, tmp_path: Path) -> None:
    clean, mixed = tmp_path / "clean", tmp_path / "mixed"
    for folder in (clean, mixed):
        folder.mkdir()
        for path in (shared_data / "fsdd").glob("*.wav"):
            (folder / path.name).symlink_to(path)
    broken = [mixed / f"{3 * number}_{kind}{SUFFIXES.get(kind, '.wav')}" for kind in KINDS for number in range(OF_EACH)]
    for path in broken:
        KINDS[path.stem.partition("_")[2]](path)
    hostile = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(HOSTILE), os.environ.get("PYTHONPATH"))))}
    for folder, code in ((clean, 0), (mixed, 3)):
        job = command(folder, models, tmp_path / f"{folder.name}-out", "--file-timeout-s", "3")
        done = subprocess.run(job, env=hostile, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == code, done.stderr
    for table in ("windows", "recordings"):
        rows = _rows(tmp_path / "clean-out", table)
        assert len({row[0] for row in rows}) == 3000
        assert _rows(tmp_path / "mixed-out", table) == rows
    letters = query(f"select uri, message from '{tmp_path}/mixed-out/dead_letters/*.parquet'")
    assert sorted(Path(uri).name for uri, _ in letters) == sorted(path.name for path in broken)
    assert all(Path(uri).name in message for uri, message in letters)

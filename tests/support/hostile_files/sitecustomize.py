"""Makes some sound files hostile to the process that reads them, in every Python process that has this folder in PYTHONPATH.

A file that begins with one of these words does this, and so does the section of a long file that is in its name: `KILL-2.wav`.
All others are read as they are.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.thread import BrokenThreadPool
from pathlib import Path
from typing import NoReturn

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.in_process import InProcessEngine
from avizor_inference.errors import AvizorError
from avizor_inference.items.audio import Level
from avizor_inference.items.kinds.audio import SoundFile
from avizor_inference.items.kinds.base import ItemInput, Row

_rows = SoundFile.rows


def _hang() -> NoReturn:
    while True:
        time.sleep(1)


def _fill_gpu() -> NoReturn:
    """What a run says whose GPU is full, as other programs' memory may fill it at any file."""
    from avizor_inference.engines.ort_session import gpu_full

    cause = RuntimeError("Failed to allocate memory for requested buffer of size 8388608000")
    full = gpu_full("a run of 32 rows of model 'kinds'", cause)
    assert full is not None
    raise full from cause


def _raise_local() -> NoReturn:
    class Local(AvizorError):
        """Cannot be sent to another process."""

    raise Local("it is of no module")


class Foreign(AvizorError):
    """Can be sent, and read by a process alone that has this folder, too."""


def _raise_foreign() -> NoReturn:
    raise Foreign("the job does not know it")


def _break_engine() -> None:
    """What engines say from now on whose library has a pool of threads that is broken."""

    def infer(self: InProcessEngine, request: InferRequest) -> NoReturn:
        raise BrokenThreadPool("a thread of the library could not begin")

    InProcessEngine.infer = infer  # type: ignore[method-assign]


ACTS = {
    b"KILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"ABORT": os.abort,
    b"HANG": _hang,
    b"FAULT": lambda: 1 // 0,
    b"MEMORY": lambda: bytes(2**62),
    b"GPUFULL": _fill_gpu,
    b"LOCAL": _raise_local,
    b"FOREIGN": _raise_foreign,
    b"BROKEN": _break_engine,
}


def rows(self: SoundFile, specs: Sequence[ItemInput], level: Level | None) -> Iterator[tuple[int, Row]]:
    assert isinstance(self.source, Path)
    with self.source.open("rb") as file:
        begins = file.read(8)
    for word, act in ACTS.items():
        if begins.startswith(word) or self.source.stem == f"{word.decode()}-{self.section.number}":
            act()
    if begins.startswith(b"ONCE"):  # it kills its reader the first time, and is a file without sound after that
        mark = self.source.with_suffix(".read")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    yield from _rows(self, specs, level)


SoundFile.rows = rows  # type: ignore[method-assign]

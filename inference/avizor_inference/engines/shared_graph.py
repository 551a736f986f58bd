"""Share one graph among processes: it is made and optimised once, and its weights are in memory once.

All is in memory files. They have no name and are on no disk, and are gone when the last process that has them ends, however it
ends.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.reduction import DupFd
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avizor_inference.arrays import Array

if TYPE_CHECKING:
    import onnxruntime as ort

# Options of ONNX Runtime: the file for the weights of the graph that it saves; use weights where they are, without a copy.
_WEIGHTS_FILE = "session.optimized_model_external_initializers_file_name"
_IN_PLACE = "session.use_external_initializer_file_buffers_directly"

# The first byte of the file when the rest of it is whole.
_WHOLE = b"\1"

# What is between the name of the weights' file and the model.
_END = b"\n"


class Optimised(NamedTuple):
    """Holds a model whose weights are in another file, and the name by which it calls that file."""

    weights_file: str
    model: bytes


class SharedGraph:
    """Holds two memory files: one for the graph, and one for its weights.

    A process that multiprocessing spawns may be given it. Then it has the same files.
    """

    def __init__(self, graph: int, weights: int) -> None:
        self._graph, self._weights = graph, weights

    @classmethod
    def create(cls) -> SharedGraph | None:
        """Return an empty one; None on a system without memory files."""
        with suppress(AttributeError, OSError):
            return cls(os.memfd_create("avizor-graph"), os.memfd_create("avizor-weights"))
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how another process gets it, while it is spawned."""
        return _received, (DupFd(self._graph), DupFd(self._weights))

    def close(self) -> None:
        """Close the files in this process. Sessions that are open stay so."""
        os.close(self._graph)
        os.close(self._weights)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process is in here. If one is killed in here, the next one comes in."""
        own = os.open(_path(self._graph), os.O_RDWR)  # processes that were given one file would also share its lock
        try:
            fcntl.flock(own, fcntl.LOCK_EX)
            yield
        finally:
            os.close(own)

    @property
    def is_decided(self) -> bool:
        """Return whether a process has said what the graph is."""
        return os.pread(self._graph, 1, 0) == _WHOLE

    def decide(self, graph: Optimised | None) -> None:
        """Say to all processes what the graph is. None: there is none."""
        os.ftruncate(self._graph, 0)  # a process that was killed may have begun
        os.pwrite(self._graph, graph.weights_file.encode() + _END + graph.model if graph else b"", 1)
        os.pwrite(self._graph, _WHOLE, 0)

    @property
    def graph(self) -> Optimised | None:
        """Return what was decided."""
        name, end, model = os.pread(self._graph, os.fstat(self._graph).st_size, 1).partition(_END)
        return Optimised(name.decode(), model) if end else None

    def optimise(self, model: bytes, what: str) -> Optimised:
        """Optimise a model for the processor of this machine, and put its weights into the file for them.

        It is done as ONNX Runtime does it with a model that it opens. what: names it in messages. Raises EngineError.
        """
        from avizor_inference.engines.ort_session import open_session  # a job on a Triton has no ONNX Runtime

        file, name = os.memfd_create("avizor-optimised"), str(self._weights)

        def save(options: ort.SessionOptions) -> None:
            options.optimized_model_filepath = _path(file)
            options.add_session_config_entry(_WEIGHTS_FILE, name)

        try:
            open_session(model, what, threads=1, configure=save)
            return Optimised(name, os.pread(file, os.fstat(file).st_size, 0))
        finally:
            os.close(file)

    def open(self, graph: Optimised, what: str, threads: int) -> tuple[ort.InferenceSession, Array]:
        """Return a session, and its weights, which must be kept as long as it is. Raises EngineError."""
        from avizor_inference.engines.ort_session import open_session

        size = os.fstat(self._weights).st_size
        weights = np.frombuffer(mmap.mmap(self._weights, size, prot=mmap.PROT_READ) if size else b"", np.uint8)

        def use(options: ort.SessionOptions) -> None:
            options.enable_mem_pattern = False  # else a run has a block for all that it needs, besides what earlier ones had
            options.add_session_config_entry(_IN_PLACE, "1")
            if size:
                options.add_external_initializers_from_files_in_memory([graph.weights_file], [weights], [size])

        return open_session(graph.model, what, threads=threads, optimised=False, configure=use), weights


def _received(graph: Any, weights: Any) -> SharedGraph:
    return SharedGraph(graph.detach(), weights.detach())


def _path(file: int) -> str:
    return f"/proc/self/fd/{file}"

"""Run a model on a GPU in batches of few sizes, with an ONNX Runtime session for each size.

cuDNN plans a convolution for one batch size, and a session keeps the plan for the size of its latest run alone. One session for
batches that change in size would be planned anew in nearly each run, which takes longer than the run (decision 45).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime as ort

from avizor_inference.arrays import Array
from avizor_inference.engines.ort_session import gpu_full


class SizedSessions:
    """Holds the sessions of one model, by the size of the batches that each runs. Each is opened when it is first needed.

    Batches are filled up to the next power of two: the items of a batch do not influence each other, as export has proven.

    what: names the model in messages.
    """

    def __init__(
        self, first: ort.InferenceSession, open_another: Callable[[], ort.InferenceSession], most: int, what: str
    ) -> None:
        self._unused: ort.InferenceSession | None = first
        self._open_another, self._most, self._what = open_another, most, what
        self._by_size: dict[int, ort.InferenceSession] = {}
        self._lock = threading.Lock()

    def run(self, outputs: Sequence[str], inputs: Mapping[str, Array], options: ort.RunOptions) -> list[Array]:
        """Return the named outputs [n, ...] for inputs [n, ...], 1 <= n <= most. Raises GpuFull, what ONNX Runtime raises."""
        rows = len(next(iter(inputs.values())))
        size = filled_size(rows, self._most)
        filled = {name: _filled(array, size) for name, array in inputs.items()}
        try:
            return [array[:rows] for array in self._session(size).run(list(outputs), filled, options)]
        except Exception as error:  # the runtime's own exceptions have no common base class
            if full := gpu_full(f"a run of {size} rows of {self._what}", error):
                raise full from error
            raise

    def _session(self, size: int) -> ort.InferenceSession:
        if session := self._by_size.get(size):
            return session
        with self._lock:
            if size not in self._by_size:
                self._by_size[size] = self._unused or self._open_another()
                self._unused = None
            return self._by_size[size]


def filled_size(rows: int, most: int) -> int:
    """Return the size of the batch in which `rows` rows run: the next power of two, but at most `most`."""
    return min(1 << (rows - 1).bit_length(), most)


def _filled(array: Array, size: int) -> Array:
    """Return the rows, and the last one again until there are `size`: it takes no other way through the model."""
    missing = size - len(array)
    return np.concatenate([array, array[-1:].repeat(missing, axis=0)]) if missing else array

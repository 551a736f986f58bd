"""Time two graphs side by side on one thread: rows per second, and their ratio within the same round."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from avizor_inference.engines.ort_session import open_session
from avizor_inference.repository.reports import SpeedComparison

BATCH_SIZES = (1, 32)


def compare_speed(
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    items: NDArray[np.generic],
    output: str,
    *,
    rounds: int = 5,
    seconds: float = 0.1,
) -> tuple[SpeedComparison, ...]:
    """Return rows per second of two graphs at batches of 1 and 32, and their ratio. The graphs are run alternately.

    items: raw items [n >= 1, ...], repeated as needed. output: the one output that is computed. seconds: for each of the
    `rounds` turns of one graph, which has at least one run.
    """
    sessions = [one_thread(before), one_thread(after)]
    return tuple(_comparison(size, rates(sessions, items, size, output, rounds, seconds)) for size in BATCH_SIZES)


def one_thread(proto: onnx.ModelProto) -> Any:
    """Open a session of ONNX Runtime on one thread of the CPU."""
    return open_session(proto.SerializeToString(), "the graph", threads=1)


def rates(
    sessions: Sequence[Any], items: NDArray[np.generic], batch_size: int, output: str, rounds: int, seconds: float
) -> list[tuple[float, ...]]:
    """Return rows per second of each session, for each round. The sessions take turns, so that other load affects all alike."""
    (name,) = (tensor.name for tensor in sessions[0].get_inputs())
    feed = {name: np.ascontiguousarray(np.resize(items, (batch_size, *items.shape[1:])))}
    for session in sessions:
        session.run([output], feed)  # memory allocated, kernels chosen
    return [tuple(_runs_per_second(session, feed, output, seconds) * batch_size for session in sessions) for _ in range(rounds)]


def _comparison(batch_size: int, pairs: Sequence[tuple[float, ...]]) -> SpeedComparison:
    ratios = [after / before for before, after in pairs]
    return SpeedComparison(
        batch_size=batch_size,
        before=median(pair[0] for pair in pairs),
        after=median(pair[1] for pair in pairs),
        ratio=median(ratios),
        lowest_ratio=min(ratios),
        highest_ratio=max(ratios),
    )


def _runs_per_second(session: Any, feed: dict[str, NDArray[np.generic]], output: str, seconds: float) -> float:
    runs, started = 0, time.perf_counter()
    while True:
        session.run([output], feed)
        runs += 1
        if (passed := time.perf_counter() - started) >= seconds:
            return runs / passed

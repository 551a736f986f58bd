"""Two graphs timed side by side on one thread: rows a second, and the ratio within the same run."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from avizor_inference.reports import SpeedComparison

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
    """Rows a second of `output` at batch 1 and 32, by turns. items: raw items [n >= 1, ...], repeated as needed.

    seconds: for each of the `rounds` turns of one graph; at least one run each.
    """
    sessions = (_session(before), _session(after))
    (name,) = (tensor.name for tensor in sessions[0].get_inputs())
    return tuple(
        _compare(sessions, name, np.resize(items, (size, *items.shape[1:])), output, rounds, seconds) for size in BATCH_SIZES
    )


def _compare(
    sessions: tuple[Any, Any], name: str, batch: NDArray[np.generic], output: str, rounds: int, seconds: float
) -> SpeedComparison:
    for session in sessions:
        session.run([output], {name: batch})  # memory allocated, kernels chosen
    pairs = [tuple(_rate(session, name, batch, output, seconds) for session in sessions) for _ in range(rounds)]
    ratios = [after / before for before, after in pairs]
    return SpeedComparison(
        batch_size=len(batch),
        before=median(pair[0] for pair in pairs),
        after=median(pair[1] for pair in pairs),
        ratio=median(ratios),
        lowest_ratio=min(ratios),
        highest_ratio=max(ratios),
    )


def _rate(session: Any, name: str, batch: NDArray[np.generic], output: str, seconds: float) -> float:
    runs, started = 0, time.perf_counter()
    while True:
        session.run([output], {name: batch})
        runs += 1
        if (passed := time.perf_counter() - started) >= seconds:
            return runs * len(batch) / passed


def _session(proto: onnx.ModelProto) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])

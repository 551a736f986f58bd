"""A closed loop of callers: each calls again as soon as it has its answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from avizor_export.tuning.candidates import Round

WARM_UP_S = 0.5
WARM_UP_CALLS = 20

Call = Callable[[], object]


def run_load(call: Call, clients: int, rows: int, seconds: float) -> Round:
    """`clients` threads that call for so long, and once at least, after some calls that do not count.

    rows: items of one call. Raises what a call raises.
    """
    with ThreadPoolExecutor(clients) as pool:
        _together(pool, call, clients, WARM_UP_S, WARM_UP_CALLS)
        started = time.perf_counter()
        latencies = _together(pool, call, clients, seconds, None)
        elapsed = time.perf_counter() - started
    return Round(
        rows_per_s=len(latencies) * rows / elapsed,
        p99_ms=1000 * float(np.percentile(latencies, 99)),
        calls=len(latencies),
    )


def _together(pool: ThreadPoolExecutor, call: Call, clients: int, seconds: float, most: int | None) -> list[float]:
    """Each call's seconds, of all clients, which begin at once; each ends after its `seconds`, or after `most` calls."""
    barrier, stop = threading.Barrier(clients), threading.Event()

    def client() -> list[float]:
        barrier.wait()
        ends, latencies = time.perf_counter() + seconds, list[float]()
        while not latencies or (time.perf_counter() < ends and (most is None or len(latencies) < most) and not stop.is_set()):
            began = time.perf_counter()
            call()
            latencies.append(time.perf_counter() - began)
        return latencies

    futures = [pool.submit(client) for _ in range(clients)]
    try:
        return [latency for future in futures for latency in future.result()]
    finally:
        stop.set()  # of use where one failed, or somebody ends the command: the others need not go on to their end

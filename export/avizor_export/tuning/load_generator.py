"""Generate load by a closed loop of clients: each calls again as soon as it has its answer."""

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
    """Call from `clients` threads for some seconds, at least once each, and return the rate and latency.

    Some warm-up calls are made before. rows: items of one call. Raises the error of the first call that fails.
    """
    with ThreadPoolExecutor(clients) as pool:
        _call_together(pool, call, clients, WARM_UP_S, WARM_UP_CALLS)
        started = time.perf_counter()
        latencies = _call_together(pool, call, clients, seconds, None)
        elapsed = time.perf_counter() - started
    return Round(
        rows_per_s=len(latencies) * rows / elapsed,
        p99_ms=1000 * float(np.percentile(latencies, 99)),
        calls=len(latencies),
    )


def _call_together(pool: ThreadPoolExecutor, call: Call, clients: int, seconds: float, limit: int | None) -> list[float]:
    """Let all clients begin at once. Return the seconds of each call.

    A client ends after `seconds` or after `limit` calls, whichever is first.
    """
    barrier, stop = threading.Barrier(clients), threading.Event()

    def client() -> list[float]:
        barrier.wait()
        ends, latencies = time.perf_counter() + seconds, list[float]()
        while not latencies or (time.perf_counter() < ends and (limit is None or len(latencies) < limit) and not stop.is_set()):
            began = time.perf_counter()
            call()
            latencies.append(time.perf_counter() - began)
        return latencies

    try:
        futures = [pool.submit(client) for _ in range(clients)]
        return [latency for future in futures for latency in future.result()]
    finally:
        # If one client failed or the command is interrupted, the others need not continue, nor wait for those that never began.
        stop.set()
        barrier.abort()

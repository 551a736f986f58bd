"""The local runner: one worker process for each core, a bounded number of shards under way."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path

from avizor_inference.errors import JobError
from avizor_pipeline.models import open_job_engine, open_models
from avizor_pipeline.parts import Commit
from avizor_pipeline.plan import Shard
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.worker import Worker

_worker: Worker | None = None  # one for each worker process


def run_shards(settings: JobSettings, out: Path, shards: Iterator[Shard], workers: int) -> Iterator[Commit]:
    """Work off the shards in `workers` processes; give each commit as it is made.

    Raises JobError if a worker dies. What is committed stays, whatever is raised or killed.
    """
    # Spawned, not forked: ONNX Runtime's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(settings, out)) as pool:
        try:
            yield from _in_flight(pool, shards, most=2 * workers)
        except BrokenProcessPool as error:
            raise JobError(
                "a worker process died (out of memory, or a fault in a decoder); finished shards are kept: run the same "
                "command again to go on"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_flight(pool: ProcessPoolExecutor, shards: Iterator[Shard], most: int) -> Iterator[Commit]:
    running: set[Future[Commit]] = {pool.submit(_run, shard) for shard in islice(shards, most)}
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        running |= {pool.submit(_run, shard) for shard in islice(shards, len(done))}
        for future in done:
            yield future.result()


def _start(settings: JobSettings, out: Path) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets running shards finish
    _worker = Worker(settings, out, open_job_engine(settings), open_models(settings))


def _run(shard: Shard) -> Commit:
    assert _worker is not None
    return _worker.run(shard)

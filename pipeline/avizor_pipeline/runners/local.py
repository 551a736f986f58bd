"""The local runner: one worker process for each core, a bounded number of shards under way.

Workers end with the process that started them, whatever ends it: each waits, in a thread, for the end of a pipe that only that
process holds open (multiprocessing's own).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from avizor_inference.errors import JobError
from avizor_inference.stop_signals import STOP_SIGNALS
from avizor_pipeline.models import open_job_engine, open_models
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.shard import Worker
from avizor_pipeline.shards import Shard
from avizor_pipeline.sinks.lock import hold_as_worker
from avizor_pipeline.sinks.parts import Commit


def run_shards(settings: JobSettings, out: Path, shards: Iterator[Shard], workers: int) -> Generator[Commit, None, None]:
    """Work off the shards in `workers` processes; give each commit as it is made. Close it to end the workers at once.

    Raises JobError if a worker dies, and what a worker raises. What is committed stays, whatever is raised or killed.
    """
    # Spawned, not forked: ONNX Runtime's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    with _signals_held():  # it starts the process that keeps count of its locks
        pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(settings, out))
    try:
        yield from _in_flight(pool, shards, most=2 * workers)
    except BaseException as error:
        # A shard may take minutes, and who stops a job does not wait so long before killing it. Nor do they hear SIGTERM.
        for worker in set(multiprocessing.active_children()) - before:
            worker.kill()
        if not isinstance(error, BrokenProcessPool):
            raise
        raise JobError(
            "a worker process died (out of memory, or a fault in a decoder); finished shards are kept: run the same command "
            "again to go on"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_flight(pool: ProcessPoolExecutor, shards: Iterator[Shard], most: int) -> Iterator[Commit]:
    first = list(islice(shards, most))
    with _signals_held():
        running: set[Future[Commit]] = {pool.submit(_run, shard) for shard in first}
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        running |= {pool.submit(_run, shard) for shard in islice(shards, len(done))}
        for future in done:
            yield future.result()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold the signals that stop a job while processes are started, which inherit that.

    So none is half started when the job is stopped, and what a terminal or a service manager sends to all of its processes
    reaches workers only through the job, which then ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ---- in a worker process

_settings: JobSettings
_out: Path
_worker: Worker | None = None


def _start(settings: JobSettings, out: Path) -> None:
    """Prepare to work. What can fail is left to the first shard, whose caller then hears why."""
    global _settings, _out
    _settings, _out = settings, out
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent(timeout: float | None = None) -> None:
    """End this process when its parent has ended, or `timeout` seconds later go on."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join(timeout)
    if not parent.is_alive():
        os._exit(1)


def _open() -> Worker:
    hold_as_worker(_out)
    _end_with_parent(timeout=0)  # it may have died before the lock was there to be seen
    return Worker(_settings, _out, open_job_engine(_settings), open_models(_settings))


def _run(shard: Shard) -> Commit:
    global _worker
    if _worker is None:
        _worker = _open()
    return _worker.run(shard)

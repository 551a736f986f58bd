"""Run shards in worker processes on this machine, with a limited number of shards in progress.

Workers end when the process that started them ends, however it ends: each waits, in a thread, for the end of a pipe that only
that process holds open (multiprocessing's own).
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
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from avizor_inference.errors import JobError
from avizor_inference.stop_signals import STOP_SIGNALS
from avizor_pipeline.job_context import JobContext, open_context
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.shard_run import ShardRun
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.lock import hold_as_worker
from avizor_pipeline.sinks.part_files import Commit


@dataclass(frozen=True)
class LocalRunner:
    """Processes shards in `workers` processes of this machine. See Runner."""

    workers: int

    def run(self, shards: Iterator[Shard], settings: JobSettings, out: Path) -> Generator[Commit, None, None]:
        """See Runner."""
        # Spawned, not forked: ONNX Runtime's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        before = set(multiprocessing.active_children())
        with _signals_blocked():  # the pool starts a process that keeps count of its locks
            pool = ProcessPoolExecutor(self.workers, context, initializer=_start, initargs=(settings, out))
        try:
            yield from _process(pool, shards, limit=2 * self.workers)
        except BaseException as error:
            # A shard may take minutes. Whatever stops a job kills it before that, and workers do not see SIGTERM.
            for worker in set(multiprocessing.active_children()) - before:
                worker.kill()
            if not isinstance(error, BrokenProcessPool):
                raise
            raise JobError(
                "a worker process died (out of memory, or a fault in a decoder); finished shards are kept: run the same "
                "command again to go on"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _process(pool: ProcessPoolExecutor, shards: Iterator[Shard], limit: int) -> Iterator[Commit]:
    first = list(islice(shards, limit))
    with _signals_blocked():
        running: set[Future[Commit]] = {pool.submit(_run, shard) for shard in first}
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        running |= {pool.submit(_run, shard) for shard in islice(shards, len(done))}
        for future in done:
            yield future.result()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the signals that stop a job while processes are started. They inherit this.

    So a stopped job leaves no process half started. And what a terminal or a service manager sends to all processes of a job
    reaches the workers only through the job, which then ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ---- in a worker process

_settings: JobSettings
_out: Path
_context: JobContext | None = None


def _start(settings: JobSettings, out: Path) -> None:
    """Remember the job. What can fail is left to the first shard, whose caller then gets the error."""
    global _settings, _out
    _settings, _out = settings, out
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent(timeout: float | None = None) -> None:
    """End this process when its parent has ended; return if that has not happened after `timeout` seconds."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join(timeout)
    if not parent.is_alive():
        os._exit(1)


def _open() -> JobContext:
    hold_as_worker(_out)
    _end_with_parent(timeout=0)  # the parent may have died before the next job could see this lock
    return open_context(_settings, _out)


def _run(shard: Shard) -> Commit:
    global _context
    if _context is None:
        _context = _open()
    return ShardRun(_context, shard).run()

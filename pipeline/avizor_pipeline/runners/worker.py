"""Run one worker process: what the job sees of it, and what happens in it.

Each worker has a pool of one process, because the death of a process ends a pool. Workers end when the process that started
them ends, however it ends: each waits, in a thread, for the end of a pipe that only that process holds open (multiprocessing's
own).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

from avizor_inference.engines.shared_graph import SharedGraph
from avizor_inference.error_text import lacks_memory
from avizor_inference.items.object_files import begin_threads
from avizor_inference.no_pandas import leave_out_pandas
from avizor_inference.object_store import is_url
from avizor_inference.stop_signals import handlers_held, signals_blocked
from avizor_pipeline.engine_wait import EngineWait
from avizor_pipeline.job_context import JobContext, open_context
from avizor_pipeline.process_memory import limit_own, prepare_limit
from avizor_pipeline.runners.attempts import Task
from avizor_pipeline.runners.base import Done
from avizor_pipeline.section_run import run_task
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.shard_run import read_only
from avizor_pipeline.sinks.lock import hold_as_worker
from avizor_pipeline.sinks.object_path import ObjectPath
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.watch import NUMBERS, Watch

# Seconds between two looks at a worker, and the most that is counted between them: a job that was stopped (Ctrl-Z) finds its
# decoders as it left them.
LOOK_EVERY_S = 0.25
_COUNTED_S = 4 * LOOK_EVERY_S

# Exit status of a worker that has no memory for what it does.
_NO_MEMORY = 86


@dataclass(frozen=True)
class WorkerOptions:
    """Holds what every worker of a job is told when it starts.

    memory: bytes that it may have by itself; None: any. shared: see group_models.
    """

    settings: JobSettings
    out: OutputPath
    engine_wait_s: float
    memory: int | None = None
    shared: tuple[SharedGraph, ...] = ()


class Worker:
    """Holds one process that does tasks, one after the other. It starts with the first task, and again if it has died."""

    def __init__(self, options: WorkerOptions) -> None:
        # Spawned, not forked: ONNX Runtime's threads do not survive a fork.
        self._spawn = multiprocessing.get_context("spawn")
        self._options = options
        self._numbers: Any = self._spawn.RawArray("q", NUMBERS)
        self._watch = Watch(self._numbers)
        self._pool: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self._seen, self._looked, self._quiet = 0, 0.0, 0.0

    def begin(self, task: Task) -> Future[Done | None]:
        """Start a task; the result is what was done, or None for a trial. Raises BrokenProcessPool if the process has died."""
        self._watch.reset()
        self._seen, self._looked, self._quiet = 0, time.monotonic(), 0.0
        if self._pool is not None:
            return self._pool.submit(_run, task)
        # Before the signals are blocked: its start ends with SIGINT and SIGTERM unblocked. It would end by SIGHUP.
        with signals_blocked([signal.SIGHUP]):
            resource_tracker.ensure_running()
        with signals_blocked(), handlers_held():
            before = set(multiprocessing.active_children())
            start = (self._options, self._numbers)
            self._pool = ProcessPoolExecutor(1, self._spawn, initializer=_start, initargs=start)
            future = self._pool.submit(_run, task)
            (self._process,) = set(multiprocessing.active_children()) - before
        return future

    @property
    def place(self) -> int:
        """Return the place of the entry that the worker has begun last; NOT_READING before the first."""
        return self._watch.entry

    @property
    def waits(self) -> bool:
        """Return whether the worker waits for an engine that is away."""
        return self._watch.waits

    def quiet_s(self) -> float:
        """Return for how many seconds the decoder of the current file has given nothing; 0 while none works."""
        now, steps = time.monotonic(), self._watch.steps
        passed, self._looked = min(now - self._looked, _COUNTED_S), now
        self._quiet = self._quiet + passed if steps % 2 and steps == self._seen else 0.0
        self._seen = steps
        return self._quiet

    def kill(self) -> None:
        """End the process at once; the future of its task then has an error. Workers do not see SIGTERM."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> str:
        """Wait for the end of the process, and return what ended it. The next task starts another one."""
        process, pool, self._process, self._pool = self._process, self._pool, None, None
        if pool is None or process is None:
            return ""
        pool.shutdown(wait=True, cancel_futures=True)
        process.join()
        return _how(process.exitcode, self._options.memory)


def _how(code: int | None, memory: int | None) -> str:
    """Return what ended a process with this exit code. memory: that it was allowed."""
    if code == _NO_MEMORY:
        return "its lack of memory" + (f" (--memory leaves {memory // 2**20} MiB for a worker)" if memory else "")
    with suppress(ValueError):
        if code is not None and code < 0:
            return signal.Signals(-code).name
    return f"an exit with status {code}"


# ---- in a worker process

_options: WorkerOptions
_watch: Watch
_context: JobContext | None = None


def _start(options: WorkerOptions, numbers: Any) -> None:
    """Remember the job. What can fail is left to the first task, whose caller then gets the error."""
    global _options, _watch
    _options, _watch = options, Watch(numbers)
    leave_out_pandas()
    if options.memory is not None:
        prepare_limit()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent(timeout: float | None = None) -> None:
    """End this process when its parent has ended; return if that has not happened after `timeout` seconds."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join(timeout)
    if not parent.is_alive():
        os._exit(1)


def _open() -> JobContext:
    hold_as_worker(_options.out)
    _end_with_parent(timeout=0)  # the parent may have died before the next job could see this lock
    if (memory := _options.memory) is not None:
        limit_own(memory)
    context = open_context(_options.settings, _options.out, EngineWait(_options.engine_wait_s, _watch), _options.shared)
    if memory is not None:
        if isinstance(_options.out, ObjectPath) or any(map(is_url, _options.settings.roots)):
            begin_threads()
        limit_own(memory)  # again: threads have begun since, whose stacks are reserved and not used
    return context


def _run(task: Task) -> Done | None:
    global _context
    try:
        if _context is None:
            _context = _open()
        if task.trial:
            read_only(_context, task.shard, _watch)
            return None
        return run_task(_context, task.shard, task.lost, _watch)
    except Exception as error:
        if lacks_memory(error):
            os._exit(_NO_MEMORY)  # as if the kernel had ended it: the same road, and the memory is free again
        raise

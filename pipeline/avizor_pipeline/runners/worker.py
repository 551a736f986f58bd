"""Run one worker process: what the job sees of it, and what happens in it.

Each worker is a process of its own, with a connection for tasks and results. A pool of multiprocessing would have semaphores,
whose names stay in memory when all processes of a job are killed at once. Workers end when the process that started them ends,
however it ends: each waits, in a thread, for the end of a pipe that only that process holds open (multiprocessing's own).
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

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

# Spawned, not forked: ONNX Runtime's threads do not survive a fork.
_SPAWN = multiprocessing.get_context("spawn")

# Exit status of a worker that has no memory for what it does.
_NO_MEMORY = 86


class WorkerDied(Exception):
    """Is raised for a task whose process has ended, and is caught in this folder. No task raises it itself."""


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
        self._options = options
        self._numbers: Any = _SPAWN.RawArray("q", NUMBERS)
        self._watch = Watch(self._numbers)
        self._process: _Process | None = None
        self._seen, self._looked, self._quiet = 0, 0.0, 0.0

    def begin(self, task: Task) -> Future[Done | None]:
        """Start a task; the result is what was done, or None for a trial. Raises WorkerDied if the process has died."""
        self._watch.reset()
        self._seen, self._looked, self._quiet = 0, time.monotonic(), 0.0
        if self._process is not None:
            return self._process.submit(task)
        # Before the signals are blocked: its start ends with SIGINT and SIGTERM unblocked. It would end by SIGHUP.
        with signals_blocked([signal.SIGHUP]):
            resource_tracker.ensure_running()
        with signals_blocked(), handlers_held():
            self._process = _Process(self._options, self._numbers)
            return self._process.submit(task)  # here, as it starts a thread

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
        process, self._process = self._process, None
        return _how(process.close(), self._options.memory) if process else ""


class _Failed(NamedTuple):
    """Holds the error that a task has raised, and the text of its traceback, which cannot be sent."""

    error: Exception
    where: str


class _Process:
    """Holds a process that was started, and a thread that sends it a task and waits for the result."""

    def __init__(self, options: WorkerOptions, numbers: Any) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        with theirs:
            self._process = _SPAWN.Process(target=_work, args=(options, numbers, theirs))
            self._process.start()
        atexit.register(self.kill)  # a signal may come before it is closed, and multiprocessing waits for it at the end
        self._thread = ThreadPoolExecutor(1)

    def submit(self, task: Task) -> Future[Done | None]:
        """See Worker.begin."""
        if not self._process.is_alive():
            raise WorkerDied("the process has died")
        return self._thread.submit(self._result, task)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close(self) -> int | None:
        """Let it end, or wait for the end of one that was killed; return its exit code."""
        self._thread.shutdown()
        self._connection.close()
        self._process.join()
        atexit.unregister(self.kill)
        return self._process.exitcode

    def _result(self, task: Task) -> Done | None:
        try:
            self._connection.send(task)
            result: Done | _Failed | None = self._connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerDied("the process has died") from error
        if isinstance(result, _Failed):
            raise result.error from RuntimeError(f"in a worker\n{result.where}")
        return result


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


def _work(options: WorkerOptions, numbers: Any, tasks: Connection) -> None:
    """Do tasks until there are no more. What can fail is left to the first of them, whose caller then gets the error."""
    global _options, _watch
    _options, _watch = options, Watch(numbers)
    leave_out_pandas()
    if options.memory is not None:
        prepare_limit()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            tasks.send(_result(tasks.recv()))


def _result(task: Task) -> Done | _Failed | None:
    """Return what came of a task."""
    try:
        return _run(task)
    except Exception as error:
        sent = error
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - it was made here
        except Exception:
            sent = RuntimeError(f"{type(error).__name__}: {error}")
        return _Failed(sent, "".join(traceback.format_exception(error)))


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

"""Do tasks in a worker process, and send what came of them.

A commit waits for the disk, or a store. So a shard is made to count in a thread, and the next one is begun meanwhile. One is
made to count after the other.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeVar

from avizor_inference.daemon_threads import DaemonThreads
from avizor_inference.engines.shared_graph import SharedGraph
from avizor_inference.error_text import lacks_memory
from avizor_inference.items.object_files import begin_threads
from avizor_inference.items.object_path import ObjectPath
from avizor_inference.no_pandas import leave_out_pandas
from avizor_inference.object_store import is_url
from avizor_pipeline.engine_wait import EngineWait
from avizor_pipeline.job_context import JobContext, open_context
from avizor_pipeline.process_memory import limit_own, prepare_limit
from avizor_pipeline.runners.attempts import Task
from avizor_pipeline.runners.base import Done
from avizor_pipeline.section_run import run_task
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.shard_run import read_only
from avizor_pipeline.sinks.lock import hold_as_worker
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.watch import Watch

T = TypeVar("T")

# Exit status of a worker that has no memory for what it does.
NO_MEMORY = 86


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


class Failed(NamedTuple):
    """Holds the error that a task has raised, and the text of its traceback, which cannot be sent."""

    error: Exception
    where: str


class Computed(NamedTuple):
    """Says that the task is done but for its commit, of which a Committed tells; is_trial: that it has none."""

    is_trial: bool


class Committed(NamedTuple):
    """Holds what came of a commit."""

    result: Done | Failed


# What a worker sends: of each task, an error or that it is computed, and then what came of its commit.
Message = Failed | Computed | Committed


_options: WorkerOptions
_watch: Watch
_context: JobContext | None = None


def work(options: WorkerOptions, numbers: Any, tasks: Connection) -> None:
    """Do tasks until there are no more. What can fail is left to the first of them, whose caller then gets the error."""
    global _options, _watch
    _options, _watch = options, Watch(numbers)
    leave_out_pandas()
    if options.memory is not None:
        prepare_limit()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    commits = _Commits(tasks)
    with suppress(EOFError, OSError):
        while task := tasks.recv():
            _do(task, commits)
        commits.wait()


class _Commits:
    """Makes one shard count after the other, beside the work on the next one, and sends what came of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self._threads = DaemonThreads(1)
        self._last = self._threads.submit(lambda: None)  # its thread begins before memory is limited

    def send(self, message: Message) -> None:
        """Send a message while a commit may do so, too."""
        with self._lock:
            self._connection.send(message)

    def wait(self) -> None:
        """Wait until the last commit has ended."""
        self._last.result()

    def begin(self, commit: Callable[[], Done]) -> None:
        """Say that the next task may come, and commit meanwhile."""
        self.wait()
        self.send(Computed(is_trial=False))
        self._last = self._threads.submit(partial(self._commit, commit))

    def _commit(self, commit: Callable[[], Done]) -> None:
        try:
            result: Done | Failed = _ended_by_lack_of_memory(commit)
        except Exception as error:
            result = _failed(error)
        self.send(Committed(result))


def _do(task: Task, commits: _Commits) -> None:
    """Do a task, and send what came of it."""
    if task.trial:  # its files answer for the death of this process, of which a commit may be the cause
        commits.wait()
    try:
        commit = _ended_by_lack_of_memory(partial(_run, task))
    except Exception as error:
        commits.send(_failed(error))
        return
    if commit:
        commits.begin(commit)
    else:
        commits.send(Computed(is_trial=True))


def _failed(error: Exception) -> Failed:
    sent = error
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - it was made here
    except Exception:
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    return Failed(sent, "".join(traceback.format_exception(error)))


def _ended_by_lack_of_memory(call: Callable[[], T]) -> T:
    """Return what a call returns. A lack of memory ends the process as the kernel would, which frees what it had."""
    try:
        return call()
    except Exception as error:
        if lacks_memory(error):
            os._exit(NO_MEMORY)
        raise


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


def _run(task: Task) -> Callable[[], Done] | None:
    """Return what makes the shard of a task count; None for a trial."""
    global _context
    if _context is None:
        _context = _open()
    if task.trial:
        read_only(_context, task.shard, _watch)
        return None
    return run_task(_context, task.shard, task.lost, _watch)

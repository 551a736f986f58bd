"""Start, watch and end one worker process; worker_process.py is what happens in it.

Each worker is a process of its own, with a connection for tasks and results. A pool of multiprocessing would have semaphores,
whose names stay in memory when all processes of a job are killed at once. Workers end when the process that started them ends,
however it ends: each waits, in a thread, for the end of a pipe that only that process holds open (multiprocessing's own).
"""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import resource_tracker
from typing import Any, NamedTuple

from avizor_inference.stop_signals import handlers_held, signals_blocked
from avizor_pipeline.runners.attempts import Task
from avizor_pipeline.runners.base import Done
from avizor_pipeline.runners.worker_process import NO_MEMORY, Committed, Failed, Message, WorkerOptions, work
from avizor_pipeline.watch import NOT_READING, NUMBERS, Watch

# Seconds between two looks at a worker, and the most that is counted between them: a job that was stopped (Ctrl-Z) finds its
# decoders as it left them.
LOOK_EVERY_S = 0.25
_COUNTED_S = 4 * LOOK_EVERY_S

# Spawned, not forked: ONNX Runtime's threads do not survive a fork.
_SPAWN = multiprocessing.get_context("spawn")


class Died(NamedTuple):
    """Is what comes of a task whose worker has ended. may_be_cause: whether the task may be why: no later one was begun."""

    may_be_cause: bool


# What comes of a commit; and of a task, which is there when the next one may begin: its commit, or None for a trial.
Committing = Future[Done | Died]
Computing = Future[Committing | Died | None]


class Worker:
    """Holds one process that does tasks, one after the other. It starts with the first task, and again if it has died."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._numbers: Any = _SPAWN.RawArray("q", NUMBERS)
        self._watch = Watch(self._numbers)
        self._process: _Process | None = None
        self._end, self._has_read = "", False
        self._seen, self._looked, self._quiet = 0, 0.0, 0.0

    def begin(self, task: Task) -> Computing:
        """Start a task; no other may be in progress, but the commit of the last one may."""
        self._has_read = self.has_read
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
    def has_read(self) -> bool:
        """Return whether it has ever read a file: then it was able to open the models."""
        return self._has_read or self.place != NOT_READING

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
        """End the process at once; what comes of its task is then Died. Workers do not see SIGTERM."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> str:
        """Wait for the end of the process, and return what ended it. The next task starts another one."""
        process, self._process = self._process, None
        if process:
            self._end = _how(process.close(), self._options.memory)
        return self._end


class _Process:
    """Holds a process that was started, a thread that sends it tasks, and one that hears what came of them."""

    def __init__(self, options: WorkerOptions, numbers: Any) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        with theirs:
            self._process = _SPAWN.Process(target=work, args=(options, numbers, theirs))
            self._process.start()
        atexit.register(self.kill)  # a signal may come before it is closed, and multiprocessing waits for it at the end
        self._lock, self._has_died = threading.Lock(), False
        self._error: Exception | None = None
        self._computing: Computing | None = None
        self._committing: Committing | None = None
        self._sender = ThreadPoolExecutor(1)  # a process that is stopped takes nothing, and the job goes on
        self._ear = threading.Thread(target=self._hear, daemon=True)
        self._ear.start()

    def submit(self, task: Task) -> Computing:
        """See Worker.begin."""
        computing = Computing()
        with self._lock:
            if self._has_died:
                computing.set_result(Died(may_be_cause=False))
                return computing
            self._computing = computing
        self._sender.submit(self._send, task)
        return computing

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close(self) -> int | None:
        """Let it end, or wait for the end of one that was killed; return its exit code."""
        self._sender.submit(self._send, None)
        self._sender.shutdown()
        self._ear.join()
        self._connection.close()
        self._process.join()
        atexit.unregister(self.kill)
        return self._process.exitcode

    def _send(self, task: Task | None) -> None:
        try:
            self._connection.send(task)
        except Exception as error:
            self._fail(error)

    def _hear(self) -> None:
        try:
            while True:
                self._take(self._connection.recv())
        except EOFError:
            pass
        except Exception as error:
            self._fail(error)
        with self._lock:
            self._has_died = True
            computing, committing, self._computing, self._committing = self._computing, self._committing, None, None
        if committing:
            _settle(committing, self._error or Died(may_be_cause=computing is None))
        if computing:
            _settle(computing, self._error or Died(may_be_cause=True))

    def _fail(self, error: Exception) -> None:
        """End the process, if it has not died by itself, and note what cannot be sent or read: nobody else would."""
        if not isinstance(error, OSError):
            self._error = error
        self.kill()

    def _take(self, message: Message) -> None:
        if isinstance(message, Committed):
            committing, self._committing = self._committing, None
            assert committing
            _settle(committing, _result(message.result))
            return
        computing, self._computing = self._computing, None
        assert computing
        if isinstance(message, Failed):
            _settle(computing, _result(message))
        elif message.is_trial:
            computing.set_result(None)
        else:
            self._committing = Committing()
            computing.set_result(self._committing)


def _result(result: Done | Failed) -> Done | Exception:
    if not isinstance(result, Failed):
        return result
    result.error.__cause__ = RuntimeError(f"in a worker\n{result.where}")
    return result.error


def _settle(future: Future[Any], result: Done | Died | Exception) -> None:
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def _how(code: int | None, memory: int | None) -> str:
    """Return what ended a process with this exit code. memory: that it was allowed."""
    if code == NO_MEMORY:
        return "its lack of memory" + (f" (--memory leaves {memory // 2**20} MiB for a worker)" if memory else "")
    with suppress(ValueError):
        if code is not None and code < 0:
            return signal.Signals(-code).name
    return f"an exit with status {code}"

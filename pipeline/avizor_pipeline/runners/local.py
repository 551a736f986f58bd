"""Run shards in worker processes on this machine. A worker that dies or hangs is replaced, and costs only its file."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any

from avizor_inference.errors import JobError
from avizor_pipeline.engine_wait import ENGINE_WAIT_S, wait_line
from avizor_pipeline.model_groups import shared_graphs
from avizor_pipeline.runners.attempts import Attempt
from avizor_pipeline.runners.base import Done
from avizor_pipeline.runners.worker import LOOK_EVERY_S, Committing, Computing, Died, Worker
from avizor_pipeline.runners.worker_process import WorkerOptions
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.watch import NOT_READING

_log = logging.getLogger(__name__)

FILE_TIMEOUT_S = 300.0

# How often a worker may die in a row before it reads a file, as it opens the models: no file is the cause. If it has read one
# before, it can open them: somebody may end workers, or memory be short for a while.
_DEATHS_AT_START = 3
_DEATHS_AT_LATER_START = 10


@dataclass(frozen=True)
class LocalRunner:
    """Processes shards in `workers` processes of this machine. See Runner.

    file_timeout_s: longest time, in seconds, in which the decoder of a file may give nothing. Time in the engine does not
    count. A file that takes longer becomes a dead letter. engine_wait_s: longest time in which a remote engine may be away.
    worker_bytes: memory that each worker may have by itself; None: any.
    """

    workers: int
    file_timeout_s: float = FILE_TIMEOUT_S
    engine_wait_s: float = ENGINE_WAIT_S
    worker_bytes: int | None = None

    @property
    def workers_of_a_machine(self) -> int:
        """See SizedRunner."""
        return self.workers

    @property
    def workers_elsewhere(self) -> bool:
        """See Runner."""
        return False

    def limited(self, workers_of_a_machine: int, worker_bytes: int) -> LocalRunner:
        """See SizedRunner."""
        return replace(self, workers=workers_of_a_machine, worker_bytes=worker_bytes)

    def run(self, shards: Iterator[Shard | None], settings: JobSettings, out: OutputPath) -> Generator[Done, None, None]:
        """See Runner. An iterator that yields None has nothing for now, and is asked again while workers wait."""
        shared = shared_graphs(settings)
        options = WorkerOptions(settings, out, self.engine_wait_s, self.worker_bytes, shared)
        workers = [Worker(options) for _ in range(self.workers)]
        try:
            yield from _Run(list(workers), shards, self.file_timeout_s).commits()
        except BaseException:
            # A shard may take minutes. Whatever stops a job kills its workers before that.
            for worker in workers:
                worker.kill()
            raise
        finally:
            for worker in workers:
                worker.close()
            for graph in shared:
                graph.close()


def run_alone(worker: Worker, shard: Shard, file_timeout_s: float) -> Done:
    """Do one shard or section with one worker, whatever its files do to it. Raises what LocalRunner.run does."""
    (done,) = _Run([worker], iter([shard]), file_timeout_s).commits()
    return done


@dataclass
class _Run:
    """Holds what is in progress: at most one task for each worker, and one commit of the task before.

    hung: worker -> place of the entry at which it was ended. deaths_at_start: of each worker, in a row, while nothing was done.
    ended: whether all shards were begun.
    """

    idle: list[Worker]
    shards: Iterator[Shard | None]
    file_timeout_s: float
    ended: bool = False
    again: deque[Attempt] = field(default_factory=deque)
    busy: dict[Computing, tuple[Worker, Attempt]] = field(default_factory=dict)
    committing: dict[Committing, tuple[Worker, Attempt]] = field(default_factory=dict)
    hung: dict[Worker, int] = field(default_factory=dict)
    deaths_at_start: Counter[Worker] = field(default_factory=Counter)
    waits: bool = False

    def commits(self) -> Iterator[Done]:
        """Yield what comes of each task."""
        while True:
            self._begin()
            is_new = False
            for done in self._committed():
                is_new = True
                yield done  # while workers do what was begun
            if not (self.busy or self.committing or self.again):
                if self.ended:
                    return
                if not is_new:  # else the caller may have more by now, or have ended the shards
                    time.sleep(LOOK_EVERY_S)
                continue
            begun: list[Future[Any]] = [*self.busy, *self.committing]
            wait(begun, LOOK_EVERY_S, return_when=FIRST_COMPLETED)
            for computing in [each for each in self.busy if each.done()]:
                self._take(computing)
            self._note_wait()
            for worker, _ in self.busy.values():
                if worker.quiet_s() > self.file_timeout_s:
                    self.hung[worker] = worker.place
                    worker.kill()

    def _begin(self) -> None:
        """Give idle workers something to do."""
        while self.idle:
            attempt = self.again.popleft() if self.again else self._next()
            if attempt is None:
                break
            worker = self.idle.pop()
            self.busy[worker.begin(attempt.task)] = worker, attempt

    def _note_wait(self) -> None:
        """Say once when workers begin to wait for the engine, and when they go on."""
        waits = any(worker.waits for worker, _ in self.busy.values())
        if waits != self.waits:
            self.waits = waits
            _log.warning(wait_line(waits))

    def _next(self) -> Attempt | None:
        """Return what comes next; None if there is nothing, or nothing for now."""
        try:
            shard = next(self.shards)
        except StopIteration:
            self.ended, shard = True, None
        return Attempt(shard) if shard else None

    def _committed(self) -> Iterator[Done]:
        """Yield what is committed by now. What a worker could not commit before it died is done again."""
        for commit in [each for each in self.committing if each.done()]:
            worker, attempt = self.committing[commit]
            done = commit.result()
            if not isinstance(done, Died):
                del self.committing[commit]
                self.deaths_at_start.clear()
                if attempt.commits_alone:
                    self.idle.append(worker)
                yield done
            elif not any(worker is other for other, _ in self.busy.values()):  # else _take hears of it
                self._bury(worker, None)
                if attempt.commits_alone and worker not in self.idle:
                    self.idle.append(worker)

    def _take(self, computing: Computing) -> None:
        """Note what came of a task. What is not done yet is tried again."""
        worker, attempt = self.busy.pop(computing)
        result = computing.result()
        if isinstance(result, Died):
            self.idle.append(worker)
            self._bury(worker, attempt if result.may_be_cause else None)
            self.again.append(attempt)
            return
        if result:
            self.committing[result] = worker, attempt
        else:
            self.deaths_at_start.clear()
            attempt.worker_survived()
            self.again.append(attempt)
        if worker in self.hung:  # it was done in the moment in which it was ended
            self._bury(worker, None)
        if result not in self.committing or not attempt.commits_alone:
            self.idle.append(worker)

    def _bury(self, worker: Worker, attempt: Attempt | None) -> None:
        """Close a worker that has died, and note which of its tasks may be why. attempt: what it was computing."""
        how, place = worker.close(), worker.place
        committed = self._not_committed(worker)
        if committed:
            self.again.append(committed)
        if worker in self.hung:
            seen = self.hung.pop(worker)
            if attempt:
                attempt.worker_hung(seen, self.file_timeout_s)
            return
        is_read = attempt is not None and place != NOT_READING
        if committed:
            committed.worker_died_in_commit(how, is_cause=not is_read)
        if attempt and is_read:
            del self.deaths_at_start[worker]
            attempt.worker_died(place, how)
        elif attempt and not committed:
            self._note_death_at_start(worker, how)

    def _not_committed(self, worker: Worker) -> Attempt | None:
        """Return, and forget, the shard that a worker could not commit before it died."""
        for commit, (other, attempt) in self.committing.items():
            if other is worker and commit.done() and not commit.exception() and isinstance(commit.result(), Died):
                del self.committing[commit]
                return attempt
        return None

    def _note_death_at_start(self, worker: Worker, how: str) -> None:
        self.deaths_at_start[worker] += 1
        deaths = self.deaths_at_start[worker]
        if deaths >= (_DEATHS_AT_LATER_START if worker.has_read else _DEATHS_AT_START):
            raise JobError(
                f"a worker process died {deaths} times in a row before it read a file (the last was ended by {how}): it may "
                "lack memory for the models; finished shards are kept: use fewer --workers, and run the same command again to "
                "go on"
            )

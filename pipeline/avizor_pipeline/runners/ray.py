"""Run shards on the machines of a Ray cluster. A machine that is lost costs the time of what it was doing.

On each machine an actor runs the workers of `ray_node.py`. This process hands it one shard for each of its workers, and another
one for each that comes back. What a lost machine was doing is given to others, when it is sure that no worker there can write
any more (decision 71).
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue

from avizor_inference.errors import JobError
from avizor_inference.items.dataset import Entry
from avizor_pipeline.engine_wait import wait_line
from avizor_pipeline.models import open_models, runs_on_gpu
from avizor_pipeline.runners.base import Done
from avizor_pipeline.runners.ray_cluster import RayCluster, RayNode
from avizor_pipeline.runners.ray_machines import GO_ON, Machine, Machines, brief
from avizor_pipeline.runners.ray_node import NodeOrder, is_there, to_arguments
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.lock import who_holds
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.write_errors import reading

_log = logging.getLogger(__name__)

# Seconds in which a result is waited for before other things are looked at.
_LOOK_S = 0.25

# Machines that may be lost while they do one shard.
_LOSSES_AT_MOST = 4


@dataclass(frozen=True)
class RayRunner:
    """Processes shards on a Ray cluster. See Runner.

    workers_asked: on all machines; None: one for each core of the cluster. most_of_a_machine: see SizedRunner.limited.
    The others: see LocalRunner.
    """

    cluster: RayCluster
    workers_asked: int | None
    file_timeout_s: float
    engine_wait_s: float
    worker_bytes: int | None = None
    most_of_a_machine: int | None = None

    @property
    def workers(self) -> int:
        """See SizedRunner."""
        return max(1, sum(self._shares()))

    @property
    def workers_of_a_machine(self) -> int:
        """See SizedRunner."""
        return max(self._shares(), default=1)

    @property
    def workers_elsewhere(self) -> bool:
        """See Runner."""
        return not self.cluster.is_own

    def limited(self, workers_of_a_machine: int, worker_bytes: int) -> RayRunner:
        """See SizedRunner."""
        return replace(self, most_of_a_machine=workers_of_a_machine, worker_bytes=worker_bytes)

    def share(self, node: RayNode, taken: int) -> int:
        """Return the workers for a machine when so many are on others already."""
        left = node.cores if self.workers_asked is None else self.workers_asked - taken
        return max(0, min(node.cores, left, self.most_of_a_machine or node.cores))

    def _shares(self) -> list[int]:
        shares: list[int] = []
        for node in self.cluster.nodes():
            shares.append(self.share(node, sum(shares)))
        return shares

    def run(self, shards: Iterator[Shard], settings: JobSettings, out: OutputPath) -> Generator[Done, None, None]:
        """See Runner. Raises JobError also if a machine lacks what the job needs, or if the cluster is lost."""
        first = next(shards, None)
        if first is None:
            return
        with reading(out):
            held = who_holds(out)
        order = NodeOrder(
            settings, out, 0, self.file_timeout_s, self.engine_wait_s, self.worker_bytes, str(Path.cwd()), held,
            _sample(first), os.environ.get("OMP_NUM_THREADS", ""),
        )  # fmt: skip
        machines = Machines(self.cluster, self, order, on_gpu=uses_gpus(settings))
        try:
            yield from _Run(machines, chain([first], shards)).results()
        finally:
            machines.stop()


def uses_gpus(settings: JobSettings) -> bool:
    """Return whether a model of the job runs on a GPU of the machine of its worker."""
    return any(runs_on_gpu(settings, model) for model in open_models(settings))


def _sample(shard: Shard) -> Entry | None:
    """Return a file that each machine must have: one that is here."""
    return next((entry for entry in shard.entries if is_there(entry)), None)


@dataclass
class _Attempt:
    """Holds a shard until it is done. losses: machines that were lost while they did it. not_before: see Machines.lose."""

    shard: Shard
    losses: int = 0
    not_before: float = 0.0


@dataclass
class _Run:
    """Holds what is in progress: at most one task for each worker."""

    machines: Machines
    shards: Iterator[Shard]
    again: deque[_Attempt] = field(default_factory=deque)
    busy: dict[Future[Done], tuple[Machine, _Attempt]] = field(default_factory=dict)
    done: SimpleQueue[Future[Done]] = field(default_factory=SimpleQueue)
    is_over: bool = False
    waits: bool = False

    def results(self) -> Iterator[Done]:
        """Yield what comes of each task."""
        while True:
            self.machines.look()
            self._give()
            if self.is_over and not self.again and not self.busy:
                return
            with suppress(Empty):
                call = self.done.get(timeout=_LOOK_S)
                machine, attempt = self.busy.pop(call)
                machine.running -= 1
                if result := self._take(call, machine, attempt):
                    yield result
            self._note_wait()

    def _give(self) -> None:
        """Give something to do to machines with idle workers."""
        for machine in [each for each in self.machines.of.values() if each.ready]:
            while machine.running < machine.workers:
                attempt = self._next()
                if attempt is None:
                    return
                # As a future: a signal that comes within ray.wait or ray.get ends this process with a code of Ray's.
                call = machine.actor.run.remote(attempt.losses > 0, *to_arguments(attempt.shard)).future()
                self.busy[call] = machine, attempt
                machine.running += 1
                call.add_done_callback(self.done.put)

    def _next(self) -> _Attempt | None:
        now = time.monotonic()
        for attempt in self.again:
            if attempt.not_before <= now:
                self.again.remove(attempt)
                return attempt
        shard = None if self.is_over else next(self.shards, None)
        self.is_over = shard is None
        return _Attempt(shard) if shard else None

    def _take(self, call: Future[Done], machine: Machine, attempt: _Attempt) -> Done | None:
        ray = self.machines.ray
        try:
            done = call.result()
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            attempt.not_before = self.machines.lose(machine, error)
            attempt.losses += 1
            if attempt.losses > _LOSSES_AT_MOST:
                raise JobError(
                    f"{attempt.losses} machines were lost while they did one shard (the last: {brief(error)}); {GO_ON}, with "
                    "fewer --workers if they may lack memory"
                ) from error
            self.again.append(attempt)
            return None
        self.machines.losses.pop(machine.node.id, None)
        return done

    def _note_wait(self) -> None:
        """Say once when workers begin to wait for the engine, and when they go on."""
        waits = any(machine.waits for machine in self.machines.of.values())
        if waits != self.waits:
            self.waits = waits
            _log.warning(wait_line(waits))

"""Hold the machines of a Ray cluster that work for a job: begin with those that come, and tell when one is surely gone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from avizor_inference.error_text import one_line
from avizor_inference.errors import AvizorError, JobError
from avizor_pipeline.runners.ray_cluster import RayCluster, RayNode
from avizor_pipeline.runners.ray_node import NodeOrder, NodeWorkers, differences, software
from avizor_pipeline.sinks.lease import WORKERS_END_S

_log = logging.getLogger(__name__)

# Seconds between two calls that tell a machine that the job is alive; and between two looks at which machines there are.
_PING_S, _NODES_S = 1.5, 2.0

# What a lost machine was doing begins again so many seconds after it was told for the last time that the job is alive.
_GONE_S = WORKERS_END_S + 3.0

# Seconds in which the head, or every machine, may be away. Ray itself ends this process after 60 s without a head.
_AWAY_S = 20.0

# Seconds without an answer after which a machine is given up.
_SILENT_S = 60.0

# Seconds after which is said that a machine has no free cores.
_BUSY_S = 30.0

# Losses in a row of one machine that has finished nothing in between, after which it gets nothing more.
_LOSSES_AT_MOST = 3

# Seconds that machines have to say that their workers have ended.
_STOP_S = 5.0

GO_ON = "finished shards are kept: run the same command again to go on"


class Shares(Protocol):
    """Says how many workers each machine has."""

    def share(self, node: RayNode, taken: int) -> int:
        """Return the workers for a machine when so many are on others already."""


@dataclass(eq=False)
class Machine:
    """Holds a machine of the cluster. create: makes its actor, once it is known that it can.

    begun: the call that shows whether it has what the job needs, made at `asked`. ready: whether it has. pinged: when it was
    told for the last time that the job is alive. running: tasks that it has.
    """

    node: RayNode
    workers: int
    create: Callable[[], Any]
    begun: Future[Any]
    asked: float
    actor: Any = None
    pinged: float = 0.0
    ready: bool = False
    running: int = 0
    ping: Any = None
    said_busy: bool = False
    waits: bool = False

    @property
    def name(self) -> str:
        """Return what it is called in messages."""
        return f"the machine {self.node.address}"


class Machines:
    """Holds the machines that work for the job, and tells them from a thread that it is alive."""

    def __init__(self, cluster: RayCluster, shares: Shares, order: NodeOrder, *, on_gpu: bool) -> None:
        self.cluster, self.ray = cluster, cluster.ray
        self._shares, self._order, self._on_gpu = shares, order, on_gpu
        self._software = software()
        self._actor = self.ray.remote(NodeWorkers)
        self.of: dict[str, Machine] = {}
        self.losses: dict[str, int] = {}
        self._left_out: set[str] = set()
        self.head_seen = self.own_seen = time.monotonic()
        self._nodes: Sequence[RayNode] = ()
        self._some_ready = False
        self.last_there = time.monotonic()
        self._over = threading.Event()
        self._lost: list[Machine] = []
        threading.Thread(target=self._ping_all, name="avizor-ray-ping", daemon=True).start()
        threading.Thread(target=self._watch_head, name="avizor-ray-head", daemon=True).start()

    def look(self) -> None:
        """Begin with machines that are new, and take note of those that are ready. Raises JobError."""
        now = time.monotonic()
        if now - self.head_seen > _AWAY_S:
            raise JobError(f"the head of the Ray cluster at {self.cluster.address} has been away for {_AWAY_S:g} s; {GO_ON}")
        if now - self.own_seen > _AWAY_S:
            raise JobError(
                f"Ray has ended on this machine, and without that it does nothing for the job; start it there; {GO_ON}"
            )
        if self._head_is_there():
            self._begin_new(now)
        for machine in [each for each in self.of.values() if not each.ready]:
            self._note_begun(machine, now)
        for machine in [each for each in self.of.values() if each.ready and now - each.pinged > _SILENT_S]:
            self._kill(machine)  # what it does then comes back as an error
        if self.of:
            self.last_there = now
        elif now - self.last_there > _AWAY_S:
            raise JobError(f"no machine of the Ray cluster at {self.cluster.address} is left to do the job; {GO_ON}")

    def _begin_new(self, now: float) -> None:
        for node in (nodes := self._nodes):
            taken = sum(machine.workers for machine in self.of.values())
            share = self._shares.share(node, taken)
            if node.id in self.of or node.id in self._left_out or not share or (self._on_gpu and not node.gpus):
                continue
            self.of[node.id] = self._begin(node, share, now)
        if self._on_gpu and nodes and not any(node.gpus for node in nodes):
            raise JobError("the models run on a GPU, and no machine of the Ray cluster has one; choose --device cpu")

    def _begin(self, node: RayNode, share: int, now: float) -> Machine:
        there = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node.id, soft=False)
        actor = self._actor.options(
            num_cpus=share,
            num_gpus=node.gpus if self._on_gpu else 0,
            max_concurrency=share + 2,  # a thread for each worker, one for `ping`, one for `stop`
            max_restarts=0,
            scheduling_strategy=there,
        )
        probe = self.ray.remote(_probe()).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote().future()
        order = replace(self._order, workers=share)
        return Machine(node, share, lambda: actor.remote(order), probe, now)

    def _note_begun(self, machine: Machine, now: float) -> None:
        """Go on with a machine whose software is known, or which is ready. Raises JobError."""
        if not machine.begun.done():
            if now - machine.asked > _BUSY_S and machine.actor and not machine.said_busy:
                machine.said_busy = True
                _log.warning("%s does not have %d free cores yet; it is waited for", machine.name, machine.workers)
            return
        try:
            answer = machine.begun.result()
            if machine.actor is None:
                self._check_software(machine, answer)
                machine.actor = machine.create()
                machine.begun = machine.actor.begin.remote().future()
                return
        except self.ray.exceptions.RayTaskError as error:
            self._refuse(machine, error.cause if isinstance(error.cause, AvizorError) else JobError(one_line(error.cause)))
        except JobError as error:
            self._refuse(machine, error)
        except self.ray.exceptions.RayError as error:
            self.lose(machine, error)
        else:
            machine.pinged, machine.ready = now, True
            self._some_ready = True
            _log.info("%s is ready, with %d workers", machine.name, machine.workers)

    def _check_software(self, machine: Machine, there: dict[str, str] | str) -> None:
        if isinstance(there, str):
            raise JobError(f"{machine.name} cannot run workers of this Avizor ({there}); install the same version there")
        if differs := differences(self._software, there):
            raise JobError(
                f"{machine.name} has other software: {differs}; its rows might differ: install the same versions there"
            )

    def _refuse(self, machine: Machine, error: AvizorError) -> None:
        """Raise the error, or only leave the machine out if it came later than others."""
        if not self._some_ready:
            raise error
        _log.warning("%s is left out: %s", machine.name, error)
        self._left_out.add(machine.node.id)
        del self.of[machine.node.id]
        self._kill(machine)

    def lose(self, machine: Machine, error: Exception) -> float:
        """Take note that a machine is lost; return when what it was doing may be given to others. Raises JobError."""
        if self.of.get(machine.node.id) is machine:
            del self.of[machine.node.id]
            self._lost.append(machine)
            self._kill(machine)
            losses = self.losses[machine.node.id] = self.losses.get(machine.node.id, 0) + 1
            if machine.ready:
                _log.warning("%s is lost (%s); others do what it was doing", machine.name, brief(error))
            if losses >= _LOSSES_AT_MOST:
                _log.warning("%s is left out: it was lost %d times in a row (%s)", machine.name, losses, brief(error))
                self._left_out.add(machine.node.id)
        return machine.pinged + _GONE_S

    def _kill(self, machine: Machine) -> None:
        if machine.actor is not None and self._head_is_there():
            with suppress(self.ray.exceptions.RayError, ValueError):
                self.ray.kill(machine.actor)

    def _head_is_there(self) -> bool:
        return time.monotonic() - self.head_seen < _AWAY_S / 2

    def stop(self) -> None:
        """End all workers. Those that cannot be reached are waited for, since they end by themselves."""
        self._over.set()
        begun = [machine for machine in self.of.values() if machine.actor is not None]
        stopping = {machine.actor.stop.remote().future(): machine for machine in begun if machine.ready}
        stopped, _ = wait(stopping, _STOP_S)
        not_sure = [*self._lost, *(stopping[stop] for stop in stopping if stop not in stopped or stop.exception())]
        for machine in begun:
            self._kill(machine)
        if not self.cluster.is_own:
            left = max((machine.pinged for machine in not_sure), default=0.0) + _GONE_S - time.monotonic()
            if left > 0:
                _log.warning("workers of machines that were lost end within %.0f s; they are waited for", left)
                time.sleep(left)

    def _ping_all(self) -> None:
        while not self._over.wait(_PING_S):
            for machine in [each for each in tuple(self.of.values()) if each.ready]:
                with suppress(self.ray.exceptions.RayError):
                    self._ping(machine)

    def _ping(self, machine: Machine) -> None:
        if machine.ping is not None:
            done, _ = self.ray.wait([machine.ping], timeout=0)
            if not done:
                return
            machine.waits = self.ray.get(machine.ping)
        machine.pinged = time.monotonic()
        machine.ping = machine.actor.ping.remote()

    def _watch_head(self) -> None:
        """Take note of the nodes that there are. The thread of the job does not ask: Ray does not answer without a head."""
        while not self._over.is_set():
            if self.cluster.head_answers():
                self._nodes = self.cluster.nodes()
                self.head_seen = time.monotonic()
                if self.cluster.has_own_node():
                    self.own_seen = self.head_seen
            self._over.wait(_NODES_S)


def brief(error: Exception) -> str:
    """Return the kind of an error of Ray, whose texts have many lines."""
    return type(error).__name__.removesuffix("Error")


def _probe() -> Callable[[], dict[str, str] | str]:
    """Return what a machine is asked first. Ray sends it as code, since Avizor may be another one there, or absent."""

    def probe() -> dict[str, str] | str:
        try:
            from avizor_pipeline.runners.ray_node import software
        except ImportError as error:
            return str(error)
        return software()

    return probe

"""Say what a gateway shares with the other workers of `avizor serve --workers`: nothing, if one process is all of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry

from avizor_inference.engines.run_statistics import StatisticsOfVersions
from avizor_service.callers import Rate

LimitName = Literal["in_flight", "streams", "message_bytes", "decoded_bytes", "explanations", "small_calls"]


@dataclass(frozen=True)
class Addresses:
    """Says where a running gateway listens."""

    grpc: str
    metrics: str
    http: str = ""  # a URL; empty if HTTP is not served


@dataclass(frozen=True)
class Controls:
    """Holds what the others may ask of a process.

    registry: of its metrics. serving(bool): says to callers whether the whole serves. not_ready(): says to them that it stops.
    stop(): stops this process as SIGTERM does.
    """

    registry: CollectorRegistry
    serving: Callable[[bool], None]
    not_ready: Callable[[], None]
    stop: Callable[[], None]


class Limit:
    """Bounds a count, such as calls at once, or bytes. For one thread."""

    is_shared = False

    def __init__(self, most: int) -> None:
        self.most, self._own = most, 0

    @property
    def used(self) -> int:
        """Return the count; of all workers, if it is shared."""
        return self._own

    def take(self, count: int = 1) -> bool:
        """Count so many more if they are within the limit. Return whether they are."""
        if self._own + count > self.most:
            return False
        self._own += count
        return True

    def add(self, count: int) -> None:
        """Count so many more, whatever the limit."""
        self._own += count

    def give(self, count: int = 1) -> None:
        """Count so many less."""
        self._own -= count


class ClientCounts:
    """Counts something, such as bytes, of each client. For one thread."""

    def __init__(self) -> None:
        self._of = dict[str, int]()

    def of(self, client: str) -> int:
        """Return the count of a client; of all workers, if it is shared."""
        return self._of.get(client, 0)

    def add(self, client: str, count: int) -> None:
        """Count so many more; less, if it is below 0."""
        self._of[client] = self._of.get(client, 0) + count
        if not self._of[client]:
            del self._of[client]


class Whole:
    """Holds what the workers of one gateway share. In this one there is one process.

    worker: number of this process, from 1 on; 0 if it is all of the gateway. statistics: of what the models ran.
    cores: how many the models of this process may use; None for all that there are.
    shares_ports: whether other processes listen on the same ports. metrics_address: where the metrics of the whole are; "" if
    this process shows its own.
    """

    worker = 0
    statistics: StatisticsOfVersions | None = None  # the engine's own
    cores: int | None = None
    shares_ports = False
    metrics_address = ""

    def limit(self, _name: LimitName, most: int) -> Limit:
        """Return what bounds a count of the whole gateway."""
        return Limit(most)

    def message_bytes(self) -> ClientCounts:
        """Return what counts, by client, the bytes that the limit of this name bounds."""
        return ClientCounts()

    def rate(self, _token: str, per_second: float, refused: Callable[[], None]) -> Rate:
        """Return what bounds the calls of a token. token: what its file may be named after."""
        return Rate(per_second, refused)

    def share(self, count: int) -> int:
        """Return the share of this process in a count that cannot be shared, at least 1."""
        return count

    def engine_changed(self, up: bool, serving: Callable[[bool], None]) -> None:
        """Note that the engine of this process is up, or away. serving(bool): is called when that changes for the whole."""
        serving(up)

    async def all_closed(self) -> None:
        """Return once all workers that stop have closed to new calls, this one included."""

    async def take_part(self, _controls: Controls) -> None:
        """Do what the others ask for, until cancelled. SIGHUP, which `avizor` holds back, reaches this process from now on."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


ALONE = Whole()

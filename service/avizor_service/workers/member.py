"""Take part in a gateway of several workers: the side of one worker."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from avizor_inference.stop_signals import STOP_SIGNALS
from avizor_inference.this_machine import usable_cores
from avizor_service.callers import Rate
from avizor_service.whole import Addresses, ClientCounts, Controls, Limit, LimitName, Whole
from avizor_service.workers.gauges import snapshot
from avizor_service.workers.messages import Message, Peer
from avizor_service.workers.shared_counts import SharedCounts
from avizor_service.workers.shared_rate import SharedRate
from avizor_service.workers.shared_statistics import SharedStatistics
from avizor_service.workers.shares import Place


class Member(Whole):
    """Holds what one worker shares with the others. first: the process that started them all."""

    shares_ports = True

    def __init__(self, place: Place, first: Peer) -> None:
        self._place, self._first = place, first
        self._all_closed = asyncio.Event()
        self._counts = SharedCounts(place.folder, place.workers)
        self.worker = place.number
        self.statistics = SharedStatistics(place.folder, place.number)
        self.cores = max(1, usable_cores() // place.workers)
        self.metrics_address = place.metrics_address

    @classmethod
    async def open(cls, place: Place, end: socket.socket) -> Member:
        """Return what talks to the first process over this end of a pair of sockets."""
        return cls(place, await Peer.open(end))

    def limit(self, name: LimitName, most: int) -> Limit:
        """See Whole.limit."""
        return self._counts.limit(self._place.number, name, most)

    def message_bytes(self) -> ClientCounts:
        """See Whole.message_bytes."""
        return self._counts.message_bytes(self._place.number)

    def rate(self, token: str, per_second: float, refused: Callable[[], None]) -> Rate:
        """See Whole.rate."""
        return SharedRate(self._place.folder / f"rate-{token}", per_second, refused)

    def share(self, count: int) -> int:
        """See Whole.share."""
        return self._place.share(count)

    def started(self, addresses: Addresses) -> None:
        """Tell that this worker serves, and where."""
        self._first.tell(ready=asdict(addresses))

    def failed(self, why: str) -> None:
        """Tell why this worker cannot serve."""
        self._first.tell(failed=why)

    async def close(self) -> None:
        """End the talk, once all is sent."""
        await self._first.close()

    def engine_changed(self, up: bool, serving: Callable[[bool], None]) -> None:
        """See Whole.engine_changed. The first process tells back whether the whole serves."""
        del serving
        self._first.tell(up=up)

    async def all_closed(self) -> None:
        """See Whole.all_closed."""
        self._first.tell(closed=True)
        await self._all_closed.wait()

    async def take_part(self, controls: Controls) -> None:
        """See Whole.take_part. Signals reach this process from now on."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

        async def answer(message: Message) -> Any:
            if "serving" in message:
                controls.serving(message["serving"])
            elif message["do"] == "open":
                self._all_closed.set()
            elif message["do"] == "not_ready":
                controls.not_ready()
            elif message["do"] == "alive":
                return True
            elif message["do"] == "gauges":
                return snapshot(controls.registry)
            return None

        await self._first.listen(answer)
        self._all_closed.set()  # nobody is left who would say so
        # The first process was killed. What it shared is removed with it; files that are open stay until the end.
        shutil.rmtree(self._place.folder, ignore_errors=True)
        controls.stop()

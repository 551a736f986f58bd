"""Bound how many streams there are at once, and end them when the gateway stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from avizor_inference.errors import GatewayFull, GatewayStopping
from avizor_service.callers import current_caller
from avizor_service.metrics import Metrics
from avizor_service.whole import ALONE, Whole

Message = TypeVar("Message")


class Streams:
    """Counts the streams in progress, which may last for months, apart from the calls in flight."""

    def __init__(self, metrics: Metrics, max_streams: int, whole: Whole = ALONE) -> None:
        self._metrics, self._places = metrics, whole.limit("streams", max_streams)
        self._stopped = asyncio.Event()

    def admit(self) -> None:
        """Take a place for one stream. Raises GatewayFull if there is none."""
        if not self._places.take():
            self._metrics.rejected.labels("streams").inc()
            raise GatewayFull(f"{self._places.most} streams are in progress, as many as this gateway accepts; try again")
        self._metrics.streams.inc()

    def leave(self, call: object) -> None:
        """Give the place of a stream back."""
        self._places.give()
        self._metrics.streams.dec()

    def stop(self) -> None:
        """End all streams, those that wait for their client too."""
        self._stopped.set()

    def require_running(self) -> None:
        """Raise GatewayStopping once the gateway stops, Unauthenticated once the stream's token is revoked."""
        current_caller().require_valid()
        if self._stopped.is_set():
            raise GatewayStopping("the gateway is shutting down; start the stream again")

    async def until_stopped(self, messages: AsyncIterator[Message]) -> AsyncGenerator[Message, None]:
        """Yield the messages of a client as they come. Raises what `require_running` raises, as soon as it does.

        The next message is read when it is asked for, so that a client that sends faster than it is served has to wait.
        """
        revoked = current_caller().revoked
        ends = [asyncio.create_task(event.wait()) for event in (self._stopped, revoked)]
        try:
            while True:
                reading = asyncio.ensure_future(anext(messages, None))
                try:
                    await asyncio.wait({reading, *ends}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not reading.done():
                        reading.cancel()
                self.require_running()
                read = [message for message in (reading.result(),) if message is not None]
                del reading
                if not read:
                    return
                yield read.pop()  # nothing here holds a large message after that
        finally:
            for end in ends:
                end.cancel()

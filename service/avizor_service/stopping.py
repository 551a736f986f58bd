"""Stop the server so that every call that has arrived is answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

import grpc

from avizor_service.calls import Calls
from avizor_service.health_service import HealthService
from avizor_service.settings import Settings
from avizor_service.streams import Streams
from avizor_service.whole import Whole

# The longest time, in seconds, that calls wait at the closed door for a pause in which nobody is expected.
_CLOSING_S = 0.5

# The longest time, in seconds, that they then wait for other workers, which stop a little later.
_OTHERS_S = 2.0


class OtherServer(Protocol):
    """Serves the same calls another way."""

    def not_ready(self) -> None:
        """Tell clients, with their answers, to go elsewhere."""

    async def stop(self, grace_s: float) -> None:
        """Take nothing new, answer what has arrived, and return; after so many seconds, end what still runs."""


async def stop(
    server: grpc.aio.Server,
    others: Sequence[OtherServer],
    calls: Calls,
    health: HealthService,
    streams: Streams,
    settings: Settings,
    whole: Whole,
) -> None:
    """Take no new calls, answer those that have arrived, and return; after grace_s seconds, end those that still run.

    grpc.aio tells clients to go elsewhere (GOAWAY) only when it stops, and then cancels each call that it has received but not
    yet handed to its handler; under load there are always some. So the door is closed first: calls are handed over and wait,
    clients that wait for an answer send no more, and the server stops in the pause that follows. Then all are answered. Before
    it is closed it is watched for a moment: a client far away comes back later than the pause is long. It is opened when the
    other workers that stop have come as far: who has an answer connects to one of them, and that must not be about to stop.
    """
    health.not_ready()
    for other in others:
        other.not_ready()
    await asyncio.sleep(settings.stop_delay_s)
    health.end_watches()
    streams.stop()
    await calls.door.watch(calls.idle_s())
    calls.door.close()
    await calls.door.quiet(_CLOSING_S, settings.max_in_flight // 2)
    stopping = [asyncio.create_task(each.stop(settings.grace_s)) for each in (server, *others)]
    await asyncio.sleep(0)  # the task has begun: no call is handed over any more
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(min(_OTHERS_S, settings.grace_s / 2)):
            await whole.all_closed()
    calls.door.open()
    await asyncio.gather(*stopping)

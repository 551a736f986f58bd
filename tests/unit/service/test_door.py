"""The pause between calls in which the gateway stops."""

from __future__ import annotations

import asyncio
import time

from avizor_service.door import Door


def test_it_returns_in_a_pause_and_at_once_when_many_wait() -> None:
    async def scenario() -> list[int]:
        door = Door()
        door.close()
        await door.quiet(0.5, 4)
        calls = [asyncio.create_task(door.wait()) for _ in range(4)]
        await asyncio.sleep(0)
        await door.quiet(3600, 4)
        door.open()
        return [len(done) for done in await asyncio.wait(calls)]

    assert asyncio.run(scenario()) == [4, 0]


def test_time_in_which_the_gateway_does_not_run_is_no_pause() -> None:
    """Calls that were sent before come after it."""

    async def scenario() -> bool:
        door = Door()
        door.close()
        closing = asyncio.create_task(door.quiet(0.5, 100))
        await asyncio.sleep(0)
        time.sleep(0.6)  # others have the machine
        for _ in range(3):
            await asyncio.sleep(0.002)
        returned_early = closing.done()
        await closing
        return returned_early

    assert not asyncio.run(scenario())

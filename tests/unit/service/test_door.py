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
        calls = [asyncio.create_task(door.enter(str(caller))) for caller in range(4)]
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


def test_who_had_an_answer_a_moment_ago_is_waited_for() -> None:
    async def scenario() -> bool:
        door = Door()
        watching = asyncio.create_task(door.watch(0.0))
        await asyncio.sleep(0)
        await door.enter("far")
        door.leave("far")
        await watching
        await door.enter("far")
        door.close()
        door.leave("far")
        closing = asyncio.create_task(door.quiet(0.5, 100))
        await asyncio.sleep(0.15)
        returned_early = closing.done()
        call = asyncio.create_task(door.enter("far"))
        await closing
        is_back = not call.done()
        door.open()
        await call
        return is_back and not returned_early

    assert asyncio.run(scenario())


def test_who_does_not_come_back_is_not_waited_for_long() -> None:
    async def scenario() -> float:
        door = Door()
        await door.watch(3600.0)
        door.close()
        door.leave("gone")
        began = time.monotonic()
        await asyncio.wait_for(door.quiet(0.5, 100), 20)
        return time.monotonic() - began

    assert asyncio.run(scenario()) > 0.14, "looks of 2 ms count for 4 ms at most"


def test_calls_that_come_again_and_again_do_not_hold_it_up() -> None:
    async def scenario() -> None:
        door = Door()
        door.close()

        async def come_and_go() -> None:
            while True:
                door.leave("other")
                await asyncio.sleep(0.001)

        coming = asyncio.create_task(come_and_go())
        await asyncio.wait_for(door.quiet(0.5, 100), 20)
        coming.cancel()

    asyncio.run(scenario())

"""message_memory.py: room for the messages of all calls, without a server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from avizor_inference.errors import GatewayFull, MessageTooLarge
from avizor_service.message_memory import MessageMemory
from avizor_service.metrics import Metrics
from avizor_service.whole import ClientCounts, Limit, LimitName, Whole
from avizor_service.workers.shared_counts import SharedCounts

MIB = 1 << 20


def rejected(metrics: Metrics, reason: str) -> float | None:
    return metrics.registry.get_sample_value("avizor_rejected_total", {"reason": reason})


def test_a_message_counts_as_the_largest_until_it_has_come_and_then_as_itself() -> None:
    async def run() -> list[bool]:
        memory = MessageMemory(max_mib=2, all_mib=6, max_wait_s=60, metrics=Metrics())
        taken = await memory.take(None)
        await memory.take(None)  # two of up to 3 MiB are being received
        third = asyncio.create_task(memory.take(None))
        await asyncio.sleep(0)
        waited = not third.done()
        memory.keep(MIB, taken)  # leaves 2 MiB
        await asyncio.sleep(0)
        still = not third.done()
        memory.free(MIB)
        await third
        return [waited, still]

    assert asyncio.run(run()) == [True, True]


def test_a_message_whose_size_is_known_takes_no_more_than_it_may_be() -> None:
    async def run() -> None:
        memory = MessageMemory(max_mib=2, all_mib=6, max_wait_s=60, metrics=Metrics())
        taken = [await asyncio.wait_for(memory.take(None, most), 1) for most in (MIB, MIB, MIB, 9 * MIB)]
        assert taken == [MIB, MIB, MIB, 3 * MIB]
        waits = asyncio.create_task(memory.take(None, 2 * MIB))
        await asyncio.sleep(0)
        assert not waits.done()
        memory.forget(MIB)
        await asyncio.sleep(0)
        assert not waits.done()
        memory.keep(MIB, 3 * MIB)
        assert await waits == 2 * MIB

    asyncio.run(run())


@pytest.mark.parametrize("comes", ["before there is room", "when there is room"])
def test_small_messages_pass_a_large_one_that_waits_until_they_have_taken_as_much(comes: str) -> None:
    async def run() -> None:
        memory = MessageMemory(max_mib=2, all_mib=6, max_wait_s=60, metrics=Metrics())
        first, _ = await memory.take(None), await memory.take(None)
        large = asyncio.create_task(memory.take(None))
        await asyncio.sleep(0)
        small = []
        if comes == "when there is room":
            memory.keep(MIB, first)  # 2 MiB, and the large one wants 3
        for _ in range(4):
            small.append(asyncio.create_task(memory.take(None, MIB)))
            await asyncio.sleep(0)
        if comes == "before there is room":
            assert not any(task.done() for task in small)
            memory.keep(MIB, first)
            await asyncio.sleep(0)
        assert [task.done() for task in (large, *small)] == [False, True, True, False, False]
        memory.free(MIB)
        await asyncio.sleep(0)
        assert [task.done() for task in (large, *small)] == [False, True, True, True, False]
        memory.free(2 * MIB)  # for both that passed first
        await asyncio.sleep(0)
        assert [task.done() for task in (large, *small)] == [False, True, True, True, False]
        memory.free(MIB)
        assert await large == 3 * MIB
        memory.free(3 * MIB)
        assert await small[3] == MIB

    asyncio.run(run())


def test_room_is_given_in_order_of_arrival() -> None:
    async def run() -> list[int]:
        memory, order = MessageMemory(max_mib=1, all_mib=1, max_wait_s=60, metrics=Metrics()), list[int]()

        async def take(number: int) -> None:
            taken = await memory.take(None)
            order.append(number)
            await asyncio.sleep(0)
            memory.keep(1, taken)
            memory.free(1)

        await asyncio.gather(*(take(number) for number in range(5)))
        return order

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]


def test_who_waits_for_too_long_is_refused_and_who_leaves_gives_its_room_to_the_next() -> None:
    metrics = Metrics()

    async def run() -> None:
        memory = MessageMemory(max_mib=1, all_mib=1, max_wait_s=60, metrics=metrics)
        taken = await memory.take(None)
        with pytest.raises(GatewayFull, match="--max-request-mib-in-flight"):
            await memory.take(0.01)
        cancelled, second = (asyncio.create_task(memory.take(None)) for _ in range(2))
        await asyncio.sleep(0)
        memory.forget(taken)
        cancelled.cancel()  # it has room already, and does not know yet
        await second
        with pytest.raises(asyncio.CancelledError):
            await cancelled

    asyncio.run(run())
    assert rejected(metrics, "bytes") == 1


@pytest.mark.parametrize("end", ["deadline", "cancelled"])
def test_who_gives_up_at_the_head_lets_in_a_smaller_message_behind_it(end: str) -> None:
    async def run() -> None:
        memory = MessageMemory(max_mib=2, all_mib=6, max_wait_s=60, metrics=Metrics())
        await memory.take(None)
        await memory.take(None, 2 * MIB)  # 1 MiB is left
        large = asyncio.create_task(memory.take(0.1 if end == "deadline" else None))
        await asyncio.sleep(0)
        for _ in range(3):  # they pass it, and no other does
            memory.forget(await asyncio.wait_for(memory.take(None, MIB), 20))
        small = asyncio.create_task(memory.take(None, 1000))
        await asyncio.sleep(0)
        assert not small.done()
        if end == "cancelled":
            large.cancel()
        with pytest.raises((GatewayFull, asyncio.CancelledError)):
            await large
        assert await asyncio.wait_for(small, 20) == 1000

    asyncio.run(run())


class Clock:
    """A clock that shows what it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_small_messages_that_come_slowly_hold_up_nobody_for_whom_others_make_room() -> None:
    async def run() -> None:
        clock = Clock()
        memory = MessageMemory(max_mib=2, all_mib=6, max_wait_s=2, metrics=Metrics(), clock=clock)
        for _ in range(199):
            await memory.take(None, 4000)
        for _ in range(20):
            taken = await memory.take(None)
            clock.now += 0.05
            memory.keep(0, taken)
        taken = await memory.take(None)
        waits = asyncio.create_task(memory.take(None))  # there is room when the one before it has come, in 0.05 s
        await asyncio.sleep(0)
        memory.keep(0, taken)
        assert await waits == 3 * MIB

    asyncio.run(run())


def test_large_messages_that_come_slowly_hold_up_no_small_one_for_which_others_make_room() -> None:
    async def run() -> None:
        clock = Clock()
        memory = MessageMemory(max_mib=2, all_mib=6, max_wait_s=2, metrics=Metrics(), clock=clock)
        await memory.take(None)
        await memory.take(None, 3 * MIB - 1000)
        for _ in range(20):
            taken = await memory.take(None, 1000)
            clock.now += 0.05
            memory.keep(0, taken)
        taken = await memory.take(None, 1000)
        waits = asyncio.create_task(memory.take(None, 1000))
        await asyncio.sleep(0)
        memory.keep(0, taken)
        assert await waits == 1000

    asyncio.run(run())


async def one_in_1_5_s(memory: MessageMemory, clock: Clock) -> int:
    """Fill the room for two messages while one is received every 1.5 s; return what the first that is there has taken."""
    first, second = await memory.take(None), await memory.take(None)
    for _ in range(5):
        clock.now += 1.5
        memory.keep(0, first)
        first, second = second, await memory.take(None)
    return first


def test_who_would_wait_for_too_long_is_refused_at_once_with_the_wait() -> None:
    async def run() -> None:
        clock = Clock()
        memory = MessageMemory(max_mib=2, all_mib=6, max_wait_s=2, metrics=Metrics(), clock=clock)
        first = await one_in_1_5_s(memory, clock)
        next_one = asyncio.create_task(memory.take(None))  # in 1.5 s
        await asyncio.sleep(0)
        with pytest.raises(GatewayFull) as refused:
            await memory.take(None)  # in 3 s
        assert refused.value.retry_after_s == pytest.approx(3, rel=0.1)
        memory.keep(0, first)
        await next_one

    asyncio.run(run())


@pytest.mark.parametrize("before", ["were let in", "gave up"])
def test_small_messages_pass_a_large_one_however_many_did_so_before_them_or_gave_up(before: str) -> None:
    async def run() -> None:
        memory = MessageMemory(max_mib=2, all_mib=6, max_wait_s=60, metrics=Metrics())
        first, _ = await memory.take(None), await memory.take(None)
        large = asyncio.create_task(memory.take(None))
        await asyncio.sleep(0)
        small = [asyncio.create_task(memory.take(None, 1000)) for _ in range(200)]
        await asyncio.sleep(0)
        if before == "gave up":
            for task in small[:150]:
                task.cancel()
            await asyncio.sleep(0)
        memory.keep(2 * MIB, first)  # 1 MiB, and the large one wants 3
        for _ in range(8):  # an answer is sent, and there is room again for others
            memory.free(1000)
            await asyncio.sleep(0)
        assert (large.done(), sum(not task.done() for task in small)) == (False, 0)
        large.cancel()

    asyncio.run(run())


def test_a_small_message_does_not_expect_to_wait_for_what_it_will_pass() -> None:
    async def run() -> None:
        clock = Clock()
        memory = MessageMemory(max_mib=2, all_mib=6, max_wait_s=2, metrics=Metrics(), clock=clock)
        first = await one_in_1_5_s(memory, clock)
        large = asyncio.create_task(memory.take(None))  # in 1.5 s
        await asyncio.sleep(0)
        small = asyncio.create_task(memory.take(1.0, 1000))
        await asyncio.sleep(0)
        assert not small.done()
        memory.keep(MIB, first)
        assert await small == 1000
        large.cancel()

    asyncio.run(run())


def test_a_message_over_the_limit_names_the_option_and_leaves_its_room() -> None:
    metrics = Metrics()

    async def run() -> None:
        memory = MessageMemory(max_mib=1, all_mib=2, max_wait_s=60, metrics=metrics)
        taken = await memory.take(None)
        with pytest.raises(MessageTooLarge, match=r"1048577 bytes, and this gateway takes 1048576 \(--max-message-mib 1\)"):
            memory.check_size(MIB + 1)
        memory.forget(taken, is_received=True)
        await asyncio.wait_for(memory.take(None), 1)

    asyncio.run(run())
    assert rejected(metrics, "size") == 1


def test_answers_that_are_not_read_are_bounded_too() -> None:
    metrics = Metrics()

    async def run() -> None:
        memory = MessageMemory(max_mib=3, all_mib=8, max_wait_s=0.01, metrics=metrics)
        for _ in range(3):
            memory.hold(4 * MIB)  # after two there is no room, and a quarter more is allowed
        with pytest.raises(GatewayFull, match="answers that were not read take more than the 8 MiB"):
            memory.hold(1)
        with pytest.raises(GatewayFull):
            await memory.take(None)
        memory.free(8 * MIB)
        memory.hold(1)

    asyncio.run(run())
    assert rejected(metrics, "bytes") == 2


def test_a_client_has_no_more_than_its_share_and_holds_up_no_other_one_while_it_waits() -> None:
    async def run() -> None:
        memory = MessageMemory(max_mib=2, all_mib=24, max_wait_s=60, metrics=Metrics())
        for _ in range(6):  # three quarters
            assert await asyncio.wait_for(memory.take(None, client="many"), 1) == 3 * MIB
        waits = [asyncio.create_task(memory.take(None, client="many")) for _ in range(100)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(memory.take(None, client="one"), 1) == 3 * MIB
        memory.forget(3 * MIB, "many")  # it has still more than three times what is left
        await asyncio.sleep(0)
        assert not any(task.done() for task in waits)
        assert await asyncio.wait_for(memory.take(None, client="other"), 1) == 3 * MIB
        memory.forget(3 * MIB, "one")
        memory.forget(3 * MIB, "other")
        await asyncio.sleep(0)
        assert sum(task.done() for task in waits) == 1
        for task in waits:
            task.cancel()

    asyncio.run(run())


def test_a_client_alone_may_have_a_message_of_any_size_that_is_taken() -> None:
    async def run() -> None:
        memory = MessageMemory(max_mib=2, all_mib=3, max_wait_s=60, metrics=Metrics())
        taken = await asyncio.wait_for(memory.take(None, client="one"), 1)
        memory.keep(MIB, taken, "one")
        with pytest.raises(GatewayFull, match="in progress of this client take the share of one client in the 3 MiB that"):
            await memory.take(0.01, client="one")
        memory.free(MIB, "one")
        assert await asyncio.wait_for(memory.take(None, client="other"), 1) == 3 * MIB

    asyncio.run(run())


def test_a_large_message_of_a_client_that_has_little_is_not_passed_for_ever() -> None:
    async def run() -> None:
        memory = MessageMemory(max_mib=2, all_mib=24, max_wait_s=60, metrics=Metrics())
        await memory.take(None, 1000, "one")
        for number in range(21):
            await memory.take(None, MIB, f"other {number}")
        large = asyncio.create_task(memory.take(None, client="one"))
        await asyncio.sleep(0)
        small = [asyncio.create_task(memory.take(None, MIB, f"small {number}")) for number in range(4)]
        await asyncio.sleep(0)
        assert sum(task.done() for task in small) == 2  # for which there was room
        for number in range(5):
            memory.free(MIB, f"other {number}")
        assert await asyncio.wait_for(large, 1) == 3 * MIB
        for task in small:
            task.cancel()

    asyncio.run(run())


def test_a_client_with_its_share_expects_to_wait_for_its_own_messages_alone() -> None:
    async def run() -> None:
        clock = Clock()
        memory = MessageMemory(max_mib=2, all_mib=24, max_wait_s=2, metrics=Metrics(), clock=clock)
        for _ in range(6):
            await memory.take(None, client="many")
        for _ in range(5):
            clock.now += 1.5
            memory.keep(0, 3 * MIB, "many")
            await memory.take(None, client="many")
        waits = asyncio.create_task(memory.take(None, client="many"))  # for 1.5 s
        await asyncio.sleep(0)
        with pytest.raises(GatewayFull) as refused:
            await memory.take(None, client="many")
        assert refused.value.retry_after_s == pytest.approx(3, rel=0.1)
        assert await asyncio.wait_for(memory.take(None, client="one"), 1)
        waits.cancel()

    asyncio.run(run())


class Worker(Whole):
    """Shares its counts with others, which are in this process, too."""

    def __init__(self, folder: Path, number: int, workers: int) -> None:
        self._counts, self._number = SharedCounts(folder, workers), number

    def limit(self, name: LimitName, most: int) -> Limit:
        return self._counts.limit(self._number, name, most)

    def message_bytes(self) -> ClientCounts:
        return self._counts.message_bytes(self._number)


@pytest.mark.parametrize("workers", [2, 8, 16])
def test_a_client_has_one_share_however_many_workers_it_calls(workers: int, tmp_path: Path) -> None:
    async def run() -> None:
        numbers = range(1, workers + 1)
        memories = [MessageMemory(2, 24, 60, Metrics(), Worker(tmp_path, number, workers)) for number in numbers]
        calls = [asyncio.create_task(memory.take(None, client="many")) for memory in memories for _ in range(8)]
        await asyncio.sleep(0.1)
        assert sum(call.done() for call in calls) == 6  # three quarters
        for memory in memories[:2]:
            assert await asyncio.wait_for(memory.take(None, client="one"), 1) == 3 * MIB
            memory.forget(3 * MIB, "one")
        for call in calls:
            call.cancel()

    asyncio.run(run())

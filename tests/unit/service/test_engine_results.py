"""engine_results.py: results come from threads to the event loop, which is woken as rarely as can be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from avizor_service.engine_results import EngineResults


def in_a_thread(futures: Sequence[Future[int]]) -> None:
    """Set results as an engine does for the calls of one batch; the event loop does not run meanwhile."""

    def set_all() -> None:
        for number, future in enumerate(futures):
            future.set_result(number)

    thread = threading.Thread(target=set_all)
    thread.start()
    thread.join()


def test_the_loop_is_woken_once_for_the_results_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> tuple[list[int], int]:
        results, wake_ups = EngineResults(), 0
        wake_up = results.loop.call_soon_threadsafe

        def counted(*arguments: object) -> object:
            nonlocal wake_ups
            wake_ups += 1
            return wake_up(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(results.loop, "call_soon_threadsafe", counted)
        answers = []
        for _ in range(2):
            futures: list[Future[int]] = [Future() for _ in range(32)]
            waiting = [asyncio.create_task(results.result(future)) for future in futures]
            await asyncio.sleep(0)
            in_a_thread(futures)
            answers += await asyncio.gather(*waiting)
        return answers, wake_ups

    assert asyncio.run(run()) == ([*range(32), *range(32)], 2)


def test_a_result_that_is_there_already_and_an_error_come_too() -> None:
    async def run() -> int:
        results = EngineResults()
        there: Future[int] = Future()
        there.set_result(7)
        failed: Future[int] = Future()
        failed.set_exception(ZeroDivisionError("by zero"))
        with pytest.raises(ZeroDivisionError, match="by zero"):
            await results.result(failed)
        return await results.result(there)

    assert asyncio.run(run()) == 7


def test_a_caller_that_is_cancelled_cancels_the_engines_future_and_no_other() -> None:
    async def run() -> int:
        results = EngineResults()
        futures: list[Future[int]] = [Future(), Future()]
        first, second = (asyncio.create_task(results.result(future)) for future in futures)
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert [future.cancelled() for future in futures] == [True, False]
        in_a_thread(futures[1:])
        return await second

    assert asyncio.run(run()) == 0


def test_a_future_that_the_engine_cancels_ends_the_wait() -> None:
    async def run() -> None:
        future: Future[int] = Future()
        waiting = asyncio.create_task(EngineResults().result(future))
        await asyncio.sleep(0)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())


def test_a_caller_that_is_cancelled_ends_only_when_what_runs_for_it_has_ended() -> None:
    async def run() -> tuple[bool, bool]:
        future: Future[int] = Future()
        future.set_running_or_notify_cancel()  # it cannot be cancelled any more
        waiting = asyncio.create_task(EngineResults().result(future))
        await asyncio.sleep(0)
        for _ in range(3):  # however often
            waiting.cancel()
            await asyncio.sleep(0.001)
        waited = not waiting.done()
        threading.Thread(target=future.set_result, args=(1,)).start()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return waited, future.done()

    assert asyncio.run(run()) == (True, True)

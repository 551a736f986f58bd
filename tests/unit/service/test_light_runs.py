"""light_runs.py: light requests share runs while many come; one that is alone waits for nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.lookup_model import ITEMS, lookup_items, write_lookup
from unit.service.light_engine import LightEngine

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.repository.models import ModelRepository
from avizor_service.light_runs import LightRuns

MOST_GROUPS = 64
MOST = 8  # rows of a run of the model `lookup`
TRY = 32  # requests that run alone until one waits for others

Found = dict[str, Any] | None


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LightEngine]:
    write_lookup(tmp_path, "dynamic_batching { }")
    with LightEngine(EmbeddedEngine(ModelRepository(tmp_path), device="cpu")) as engine:
        yield engine


class Caller:
    """Asks for light runs on one event loop."""

    def __init__(self, engine: LightEngine) -> None:
        self.engine, self.runs = engine, LightRuns(engine)

    def ask(self, *indices: int, output: str = "probabilities", timeout_s: float | None = None) -> Coroutine[Any, Any, Found]:
        request = InferRequest("lookup", {"input": lookup_items(*indices)}, [output], timeout_s=timeout_s)
        return self.runs.run(request, MOST)

    async def answer_at_once(self, *indices: int, output: str = "probabilities", timeout_s: float | None = None) -> list[float]:
        """Return the answer to a request that waits for nothing; nothing if it waits, and is then given up."""
        asking = asyncio.create_task(self.ask(*indices, output=output, timeout_s=timeout_s))
        await asyncio.sleep(0)
        if not asking.done():
            asking.cancel()
            return []
        return values(asking.result(), output)

    async def bring_company(self) -> None:
        """Bring the runs to share: nobody waits before one that tries it has found company."""
        for _ in range(TRY):
            assert await self.answer_at_once(0) == [0]
        assert [values(found) for found in await asyncio.gather(*map(self.ask, range(6)))] == [[index] for index in range(6)]
        assert self.engine.sizes == [1] * TRY + [6]
        self.engine.runs.clear()
        self.engine.waits.clear()


def values(found: Found, output: str = "probabilities") -> list[float]:
    assert found is not None
    assert list(found) == [output]
    answer: list[float] = found[output][:, 0].tolist()
    return answer


def on_a_loop(engine: LightEngine, test: Callable[[Caller], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await test(Caller(engine))

    asyncio.run(run())


def test_requests_share_runs_of_as_many_rows_as_the_model_takes(engine: LightEngine) -> None:
    async def run(caller: Caller) -> None:
        await caller.bring_company()
        asked = [(1,), (2, 3), (4, 5, 6), (7, 8, 9), (1,), (2, 2, 2, 2), (3,)]
        found = await asyncio.gather(*(caller.ask(*indices) for indices in asked))
        assert [values(one) for one in found] == [[*indices] for indices in asked]

    on_a_loop(engine, run)
    assert [[len(request.inputs["input"]) for request in requests] for requests in engine.runs] == [[1, 2, 3], [3, 1, 4], [1]]


def test_requests_that_fill_a_run_wait_no_longer(engine: LightEngine) -> None:
    async def run(caller: Caller) -> None:
        await caller.bring_company()
        asking = [asyncio.create_task(caller.ask(*indices)) for indices in ((1, 2, 3), (4, 5, 6), (7, 8))]
        await asyncio.sleep(0)
        assert engine.sizes == [3]
        assert [values(found) for found in await asyncio.gather(*asking)] == [[1, 2, 3], [4, 5, 6], [7, 8]]
        for _ in range(20):
            await asyncio.sleep(0)
        last = asyncio.create_task(caller.ask(9))
        await asyncio.sleep(0)
        assert not last.done()  # the next ones still wait for company, for eight turns
        for _ in range(11):
            await asyncio.sleep(0)
        assert values(last.result()) == [9]

    on_a_loop(engine, run)


def test_one_that_is_alone_waits_once_in_a_while_and_is_answered(engine: LightEngine) -> None:
    async def run(caller: Caller) -> None:
        for number in range(1, 3 * TRY):
            assert values(await caller.ask(number % ITEMS)) == [number % ITEMS]

    on_a_loop(engine, run)
    assert engine.sizes == [1] * (3 * TRY - 1)
    assert len([seconds for seconds in engine.waits if seconds]) == 2


def test_nobody_waits_any_more_once_the_company_has_gone(engine: LightEngine) -> None:
    async def run(caller: Caller) -> None:
        await caller.bring_company()
        assert await caller.answer_at_once(1) == []
        for index in (1, 2):
            assert values(await caller.ask(index)) == [index]
        assert await caller.answer_at_once(3) == [3]

    on_a_loop(engine, run)
    assert engine.sizes == [1, 1, 1]


def test_requests_that_come_in_later_turns_of_the_loop_share_the_run(engine: LightEngine) -> None:
    async def run(caller: Caller) -> None:
        await caller.bring_company()
        asking, began = [], time.monotonic()
        for index in range(5):
            asking.append(asyncio.create_task(caller.ask(index)))
            for _ in range(7):
                await asyncio.sleep(0)
        assert [values(found) for found in await asyncio.gather(*asking)] == [[index] for index in range(5)]
        assert 0 < engine.waits[0] < 5 * (time.monotonic() - began)

    on_a_loop(engine, run)
    assert engine.sizes == [5]


def test_a_request_is_not_held_up_by_others_that_go_away(engine: LightEngine) -> None:
    async def run(caller: Caller) -> None:
        await caller.bring_company()
        first, gone, last = (asyncio.create_task(caller.ask(index)) for index in (1, ITEMS + 5, 2))
        await asyncio.sleep(0)
        gone.cancel()
        assert [values(await task) for task in (first, last)] == [[1], [2]]
        with pytest.raises(asyncio.CancelledError):
            await gone
        everyone = [asyncio.create_task(caller.ask(index)) for index in range(3)]
        await asyncio.sleep(0)
        for task in everyone:
            task.cancel()
        await asyncio.gather(*everyone, return_exceptions=True)
        for _ in range(20):
            await asyncio.sleep(0)
        assert values(await caller.ask(4)) == [4]

    on_a_loop(engine, run)
    assert engine.sizes == [2, 1]  # nothing runs for nobody
    assert len(engine.cancelled) == 4
    assert min(engine.cancelled) > 0


def test_who_is_cancelled_after_the_run_was_answered(engine: LightEngine) -> None:
    async def run(caller: Caller) -> None:
        await caller.bring_company()
        for fails, counted in ((False, 0), (True, 1)):
            engine.cancelled.clear()
            gone, last = (asyncio.create_task(caller.ask(index)) for index in (1, ITEMS + 5 if fails else 2))
            await asyncio.sleep(0)
            while not engine.runs:
                await asyncio.sleep(0)
            engine.runs.clear()
            gone.cancel()  # before it wakes up
            assert (await last is None) is fails
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert len(engine.cancelled) == counted

    on_a_loop(engine, run)


def test_of_ever_new_sets_of_outputs_the_latest_are_kept(engine: LightEngine) -> None:
    async def run(caller: Caller) -> None:
        for number in range(3 * MOST_GROUPS):
            request = InferRequest("lookup", {"input": lookup_items(1)}, ["probabilities"] * (number + 1))
            caller.runs._alone = TRY
            found = await asyncio.gather(*(caller.runs.run(request, MOST) for _ in range(3)))
            assert [values(one) for one in found] == [[1]] * 3
        kept = [len(outputs) for _, _, outputs in caller.runs._groups]
        assert kept == [*range(2 * MOST_GROUPS + 1, 3 * MOST_GROUPS + 1)]

    on_a_loop(engine, run)
    assert engine.sizes == [3] * 3 * MOST_GROUPS


def test_where_a_shared_run_fails_or_is_not_light_each_request_runs_alone(engine: LightEngine) -> None:
    async def run(caller: Caller) -> None:
        await caller.bring_company()
        found = await asyncio.gather(*map(caller.ask, (1, ITEMS + 5, 2)))
        assert [found[0] and values(found[0]), found[1], found[2] and values(found[2])] == [[1], None, [2]]
        assert engine.sizes == [3, 1, 1, 1]
        assert min(engine.waits) > 0  # what each had waited counts for the run that answers it
        engine.runs.clear()
        engine.most = 0
        assert await asyncio.gather(*map(caller.ask, range(3))) == [None] * 3  # each is submitted

    on_a_loop(engine, run)
    assert engine.sizes == [3, 1, 1, 1]


def test_one_bad_request_does_not_end_the_sharing_and_several_do(engine: LightEngine) -> None:
    async def run(caller: Caller) -> None:
        await caller.bring_company()  # of six
        for _ in range(5):
            assert await asyncio.gather(*map(caller.ask, (ITEMS + 5, ITEMS + 5))) == [None, None]
            found = await asyncio.gather(*map(caller.ask, range(6)))
            assert [values(one) for one in found] == [[index] for index in range(6)]
        assert engine.sizes == [2, 1, 1, 6] * 5
        for _ in range(2):
            found = await asyncio.gather(*map(caller.ask, (1, ITEMS + 5, 2)))
            assert [one and values(one) for one in found] == [[1], None, [2]]
        assert await caller.answer_at_once(1) == [1]  # nobody waits again before another one has tried it

    on_a_loop(engine, run)


def test_a_request_with_little_time_left_waits_for_nobody(engine: LightEngine) -> None:
    async def run(caller: Caller) -> None:
        await caller.bring_company()
        assert await caller.answer_at_once(1, timeout_s=0.05) == [1]
        assert await caller.answer_at_once(1, timeout_s=5) == []

    on_a_loop(engine, run)


def test_only_requests_for_the_same_outputs_share_a_run(engine: LightEngine) -> None:
    async def run(caller: Caller) -> None:
        await caller.bring_company()
        assert await caller.answer_at_once(1, output="embedding") == [10]  # these have had no company
        found = await asyncio.gather(*map(caller.ask, range(3)), caller.ask(4, output="embedding"))
        assert [values(one) for one in found[:3]] == [[0], [1], [2]]
        assert values(found[3], "embedding") == [40]

    on_a_loop(engine, run)
    assert sorted(engine.sizes) == [1, 1, 3]


@pytest.mark.parametrize(("model", "version"), [("lookup", 1), ("another", None)])
def test_only_requests_for_the_same_version_share_a_run(engine: LightEngine, model: str, version: int | None) -> None:
    async def run(caller: Caller) -> None:
        await caller.bring_company()
        other = InferRequest(model, {"input": lookup_items(4)}, ["probabilities"], version)
        found = await asyncio.gather(*map(caller.ask, range(3)), caller.runs.run(other, MOST))
        assert [values(one) for one in found[:3]] == [[0], [1], [2]]
        assert (found[3] is None) is (model == "another")  # which the engine does not have

    on_a_loop(engine, run)
    assert sorted(engine.sizes) == [1, 3]


def test_nobody_waits_where_runs_are_not_shared(engine: LightEngine) -> None:
    engine.shares = False

    async def run(caller: Caller) -> None:
        for _ in range(3 * TRY):
            assert await caller.answer_at_once(1) == [1]

    on_a_loop(engine, run)

"""engine_turns.py and explanations.py: code in a thread uses the engine, and the calls of others get their turns."""

from __future__ import annotations

import asyncio
import concurrent.futures
from pathlib import Path

import numpy as np
import pytest
from unit.service.gateways import open_gateway
from unit.service.unanswered_engine import UnansweredEngine

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.errors import BatchTooLarge, DeadlineExceeded, GatewayFull
from avizor_service.drawing.drawer import Drawer
from avizor_service.engine_turns import EngineTurns
from avizor_service.explanations import Explanations
from avizor_service.gateway import Gateway
from avizor_service.metrics import Metrics
from avizor_service.threads import Threads

BATCH = 16  # of the model `digits`


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 32, 32, 1)).astype(np.uint8)


def request(rows: np.ndarray) -> InferRequest:
    return InferRequest("digits", {"image": rows}, ["probabilities"])


def turns(gateway: Gateway, time_remaining_s: float | None = None) -> EngineTurns:
    model = gateway.catalogue.open("digits")
    return EngineTurns(gateway.inference, model, gateway.explanations.threads, lambda: time_remaining_s)


async def until(engine: UnansweredEngine, submitted: int) -> None:
    while len(engine.submitted) < submitted:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)


def test_rows_of_any_number_run_from_a_thread_and_are_counted(models: Path) -> None:
    async def run(gateway: Gateway) -> tuple[np.ndarray, int]:
        engine = turns(gateway)
        outputs = await engine.in_thread(infer_rows, engine, request(pictures(40)))
        return outputs["probabilities"], engine.rows

    with EmbeddedEngine(models) as engine, open_gateway(models, engine=engine) as gateway:
        values, rows = asyncio.run(run(gateway))
        expected = infer_rows(engine, request(pictures(40)))["probabilities"]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
    assert rows == 40


def test_one_batch_of_a_call_is_at_the_engine_and_those_of_others_come_between(models: Path) -> None:
    async def run(gateway: Gateway, held: UnansweredEngine) -> None:
        engine = turns(gateway)
        explaining = asyncio.create_task(engine.in_thread(infer_rows, engine, request(pictures(3 * BATCH))))
        await until(held, 1)
        assert len(held.submitted) == 1  # though infer_rows has submitted all three
        load = gateway.inference.loads.of("digits").throughput
        assert load.in_progress == BATCH  # the others wait for it, and nobody else for them
        model = gateway.catalogue.open("digits")
        other = asyncio.create_task(gateway.inference.run_rows(model, pictures(1), ["probabilities"], None))
        await until(held, 2)
        for number in range(4):
            await until(held, number + 1)
            held.release(number)
        assert len((await explaining)["probabilities"]) == 3 * BATCH
        await other
        assert [len(each.inputs["image"]) for each, _ in held.submitted] == [BATCH, 1, BATCH, BATCH]
        assert load.in_progress == 0

    with EmbeddedEngine(models) as inner, open_gateway(models, engine=(held := UnansweredEngine(inner))) as gateway:
        asyncio.run(run(gateway, held))


def test_a_call_that_is_cancelled_leaves_the_engine_and_its_function_ends(models: Path) -> None:
    ended = []

    def batches(engine: EngineTurns) -> None:
        try:
            while True:
                engine.infer(request(pictures(1)))
        except concurrent.futures.CancelledError:
            ended.append(True)
            raise

    async def run(gateway: Gateway, held: UnansweredEngine) -> None:
        engine = turns(gateway)
        explaining = asyncio.create_task(engine.in_thread(batches, engine))
        await until(held, 1)
        held.release(0)
        await until(held, 2)
        explaining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await explaining
        assert ended == [True]
        assert held.submitted[1][1].cancelled()
        assert len(held.submitted) == 2
        with pytest.raises(concurrent.futures.CancelledError):
            engine.submit(request(pictures(1)))
        assert gateway.inference.loads.of("digits").throughput.in_progress == 0

    with EmbeddedEngine(models) as inner, open_gateway(models, engine=(held := UnansweredEngine(inner))) as gateway:
        asyncio.run(run(gateway, held))


def test_no_batch_begins_after_the_deadline_and_none_is_larger_than_the_models(models: Path) -> None:
    async def run(gateway: Gateway, rows: int, time_remaining_s: float) -> None:
        engine = turns(gateway, time_remaining_s)
        await engine.in_thread(engine.infer, request(pictures(rows)))

    with open_gateway(models) as gateway:
        with pytest.raises(DeadlineExceeded, match="before the explanation was done"):
            asyncio.run(run(gateway, 1, 0.0))
        with pytest.raises(BatchTooLarge):
            asyncio.run(run(gateway, BATCH + 1, 60.0))


def test_a_batch_for_which_there_is_no_memory_is_refused(models: Path) -> None:
    async def run(gateway: Gateway) -> None:
        engine = turns(gateway)
        with gateway.inference.memory_of_call() as memory:
            memory.take_answer(1 << 20)
            await engine.in_thread(engine.infer, request(pictures(1)))

    with open_gateway(models, max_decoded_mib=1) as gateway, pytest.raises(GatewayFull, match="--max-decoded-mib"):
        asyncio.run(run(gateway))


def test_more_explanations_than_places_are_rejected_and_a_place_is_given_back() -> None:
    metrics = Metrics()
    explanations = Explanations(metrics, 1, Threads(concurrent.futures.ThreadPoolExecutor(1)), Drawer(64, 1.0))
    for _ in range(2):
        with explanations.place(), pytest.raises(GatewayFull, match="--max-explanations"), explanations.place():
            pytest.fail("there was no place")
    assert metrics.registry.get_sample_value("avizor_rejected_total", {"reason": "explanations"}) == 2
    with pytest.raises(ValueError, match="failed"), explanations.place():
        raise ValueError("failed")
    with explanations.place():
        pass

"""engine_runs.py: rows of any number run, and a caller that is gone leaves the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.grpc.service_pb2 import ModelConfigResponse
from unit.inference.test_triton_answers import CONFIG, Answering, answer, serving
from unit.service.unanswered_engine import UnansweredEngine

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.errors import EngineMismatch, EngineUnavailable
from avizor_inference.repository.triton_config import DIGEST_PARAMETER
from avizor_service.engine_runs import EngineRuns
from avizor_service.threads import open_threads

BATCH = 16  # of the model `digits`


@pytest.fixture(scope="module")
def engine(models: Path) -> Iterator[EmbeddedEngine]:
    with EmbeddedEngine(models) as engine:
        yield engine


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 32, 32, 1)).astype(np.uint8)


async def until(engine: UnansweredEngine, submitted: int) -> None:
    """Wait until the engine has so many requests, and nothing else is left to do."""
    while len(engine.submitted) < submitted:
        await asyncio.sleep(0.001)
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("counts", [(1,), (3, 1, 2), (BATCH,), (BATCH + 1,), (40, 1, 60, 33)])
def test_rows_of_any_number_come_back_in_their_order(engine: EmbeddedEngine, counts: tuple[int, ...]) -> None:
    items = [pictures(count) for count in counts]
    with open_threads(1) as threads:
        run = EngineRuns(engine, threads).run(engine.spec("digits"), items, ["probabilities", "embedding"], lambda: None)
        outputs = asyncio.run(run)
    assert list(outputs) == ["probabilities", "embedding"]
    for name, values in outputs.items():
        alone = [engine.infer(InferRequest("digits", {"image": row[None]}, [name]))[name] for item in items for row in item]
        np.testing.assert_allclose(values, np.concatenate(alone), rtol=1e-4, atol=1e-6)


def test_a_caller_that_is_cancelled_cancels_what_the_engine_has_of_it(engine: EmbeddedEngine) -> None:
    held = UnansweredEngine(engine)

    async def run() -> None:
        with open_threads(1) as threads:
            runs = EngineRuns(held, threads)
            for rows, batches in ((1, 1), (10 * BATCH, 4)):
                held.submitted.clear()
                run = runs.run(engine.spec("digits"), [pictures(rows)], ["probabilities"], lambda: None)
                calling = asyncio.create_task(run)
                await until(held, batches)
                assert len(held.submitted) == batches  # of one request, four at most
                calling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await calling
                assert all(future.cancelled() for _, future in held.submitted)

    asyncio.run(run())


def test_an_error_of_one_batch_ends_the_others(engine: EmbeddedEngine) -> None:
    held = UnansweredEngine(engine)

    async def run() -> None:
        with open_threads(1) as threads:
            run = EngineRuns(held, threads).run(engine.spec("digits"), [pictures(60)], ["probabilities"], lambda: None)
            calling = asyncio.create_task(run)
            await until(held, 4)
            held.submitted[0][1].set_exception(EngineUnavailable("it is away"))
            with pytest.raises(EngineUnavailable, match="it is away"):
                await calling

    asyncio.run(run())
    assert [future.cancelled() for _, future in held.submitted] == [False, True, True, True]


def test_each_batch_gets_the_time_that_is_left_when_it_is_sent(engine: EmbeddedEngine) -> None:
    held, left = UnansweredEngine(engine), 9.0

    async def run() -> None:
        nonlocal left
        with open_threads(1) as threads:
            rows = [pictures(6 * BATCH)]
            run = EngineRuns(held, threads).run(engine.spec("digits"), rows, ["probabilities"], lambda: left)
            calling = asyncio.create_task(run)
            for number in range(6):
                await until(held, min(number + 4, 6))
                left -= 1
                held.release(number)
            await calling

    asyncio.run(run())
    assert [request.timeout_s for request, _ in held.submitted] == [9.0, 9.0, 9.0, 9.0, 8.0, 7.0]


def test_what_a_request_waited_to_share_a_run_is_taken_off_its_time(engine: EmbeddedEngine) -> None:
    held, clock = UnansweredEngine(engine), iter((9.0, 8.0))

    async def run() -> None:
        with open_threads(1) as threads:
            run = EngineRuns(held, threads).run(engine.spec("digits"), [pictures(1)], ["probabilities"], lambda: next(clock))
            calling = asyncio.create_task(run)
            await until(held, 1)
            held.release(0)
            await calling

    asyncio.run(run())
    assert [request.timeout_s for request, _ in held.submitted] == [8.0]


def changed_model(field: str = "", digest: str = "ab") -> list[bytes]:
    """What a server says of a model whose tensor of that field is one larger, or which has another digest."""
    config = ModelConfig()
    config.CopyFrom(CONFIG)
    if field:
        getattr(config, field)[0].dims[:] = [3]
    config.parameters[f"{DIGEST_PARAMETER}_3"].string_value = digest * 32
    return [ModelConfigResponse(config=config).SerializeToString()]


@pytest.mark.parametrize(
    ("changed", "answered", "message"),
    [
        (
            changed_model("output"),
            answer(shape=(1, 3), content=bytes(12)),
            r"output 'y' is float32\[batch, 3\], and was float32\[",
        ),
        (changed_model("input"), answer(), r"input 'x' is float32\[batch, 3\], and was float32\[batch, 2\]"),
        (changed_model(digest="cd"), answer(), r"its sha256 is cdcdcdcdcdcd\.\.\., and was abababababab"),
    ],
)
def test_a_model_that_a_triton_has_changed_under_the_name_is_told_from_the_one_that_was_opened(
    changed: list[bytes], answered: bytes, message: str
) -> None:
    """A look of the gateway asks what is loaded. From then on the engine knows the tensors of the other model."""
    server = Answering(answer())
    server.answers["ModelConfig"] = changed_model()
    with serving(server) as address, TritonEngine(address) as engine, open_threads(1) as threads:
        runs, spec = EngineRuns(engine, threads), engine.spec("m", 3)

        def asked() -> Mapping[str, np.ndarray]:
            return asyncio.run(runs.run(spec, [np.zeros((1, 2), np.float32)], ["y"], lambda: 20.0))

        assert engine.loaded("m") == [3]
        assert engine.spec("m", 3) is spec
        assert asked()["y"].shape == (1, 2)
        server.answers |= {"ModelConfig": changed, "ModelInfer": [answered]}
        engine.loaded("m")
        with pytest.raises(EngineMismatch, match="another model as 'm' version 3 than when it was opened: " + message):
            asked()
        server.answers |= {"ModelConfig": changed_model(digest=""), "ModelInfer": [answer()]}
        engine.loaded("m")
        assert asked()["y"].shape == (1, 2)  # the earlier one is back, as far as is known


def test_a_version_that_a_triton_has_loaded_again_for_smaller_batches_runs_in_parts() -> None:
    server, smaller = Answering(answer()), ModelConfig()
    smaller.CopyFrom(CONFIG)
    smaller.max_batch_size = 1
    with serving(server) as address, TritonEngine(address) as engine, open_threads(1) as threads:
        runs, spec = EngineRuns(engine, threads), engine.spec("m", 3)
        server.answers["ModelConfig"] = [ModelConfigResponse(config=smaller).SerializeToString()]
        engine.loaded("m")
        answered = asyncio.run(runs.run(spec, [np.zeros((3, 2), np.float32)], ["y"], lambda: 20.0))
    assert answered["y"].shape == (3, 2)

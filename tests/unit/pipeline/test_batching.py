"""batching.py with a real engine: every row gets its own result, in order, however many batches run at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from support.sounds import tone

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec
from avizor_inference.errors import EngineError
from avizor_pipeline.batching import Batch, Batcher
from avizor_pipeline.model_groups import ModelGroup
from avizor_pipeline.models import JobModel, open_job_engine, open_models
from avizor_pipeline.request import JobRequest

Key = TypeVar("Key")

ROWS = [tone(4096 / 8000, seed=seed, hz=200 + 100 * seed) for seed in range(7)]


def pairs(batches: Iterable[Batch[Key]]) -> list[tuple[Key, Array]]:
    return [pair for batch in batches for pair in zip(batch.keys, *batch.outputs, strict=True)]


@pytest.fixture
def model(models: Path) -> JobModel:
    (model,) = open_models(JobRequest(("data",), ("normal",), models, batch_size=2).to_settings())
    return model


@pytest.fixture
def engine(models: Path) -> Iterator[Engine]:
    with open_job_engine(JobRequest(("data",), ("normal",), models).to_settings()) as engine:
        yield engine


@pytest.mark.parametrize(
    ("in_flight", "sizes"),
    [
        (1, [0, 2, 0, 2, 0, 2, 0, 1]),  # a batch of two runs with the push that fills it; the last row is left to finish
        (2, [0, 0, 0, 2, 0, 2, 0, 3]),
        (4, [0, 0, 0, 0, 0, 0, 0, 7]),  # there are fewer batches than may run at once
    ],
)
def test_results_come_with_their_keys_in_the_order_of_the_rows(
    model: JobModel, engine: Engine, in_flight: int, sizes: list[int]
) -> None:
    batcher: Batcher[int] = Batcher(ModelGroup(engine, (model,)), in_flight)
    yields = [pairs(batcher.push(number, row)) for number, row in enumerate(ROWS)] + [pairs(batcher.finish())]
    assert [len(results) for results in yields] == sizes
    assert [key for results in yields for key, _ in results] == list(range(7))

    alone: Batcher[int] = Batcher(ModelGroup(engine, (model,)), in_flight=1)
    for number, (_, together) in enumerate(pair for results in yields for pair in results):
        ((_, single),) = [*pairs(alone.push(number, ROWS[number])), *pairs(alone.finish())]
        np.testing.assert_allclose(together, single, rtol=1e-5)


def test_a_batcher_is_empty_after_finish_and_can_be_used_again(model: JobModel, engine: Engine) -> None:
    batcher: Batcher[str] = Batcher(ModelGroup(engine, (model,)), in_flight=2)
    assert list(batcher.finish()) == []
    for key in ("first", "second"):
        assert list(batcher.push(key, ROWS[0])) == []
        assert [found for found, _ in pairs(batcher.finish())] == [key]
        assert list(batcher.finish()) == []


def test_a_batch_is_never_larger_than_the_model_takes(models: Path, engine: Engine) -> None:
    (model,) = open_models(JobRequest(("data",), ("normal",), models, batch_size=1000).to_settings())
    batcher: Batcher[int] = Batcher(ModelGroup(engine, (model,)), in_flight=1)
    limit = engine.spec("normal").max_batch_size
    sizes = [len(pairs(batcher.push(number, ROWS[0]))) for number in range(limit)]
    assert sizes == [0] * (limit - 1) + [limit]


class Failing(Engine):
    """Fails at runs of fewer than so many rows: of 9, at all; of 8, those in which a server has put another's bad row."""

    def __init__(self, inner: Engine, below: int) -> None:
        self._inner, self._below = inner, below

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        return self._inner.spec(model, version)

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        if len(request.inputs["input"]) >= self._below:
            return self._inner.submit(request)
        future: Future[dict[str, Array]] = Future()
        future.set_exception(EngineError("the machine is on fire"))
        return future

    def ready(self, timeout_s: float = 1.0) -> bool:
        return True

    def close(self) -> None:
        self._inner.close()


def batcher_of(lookup: Path, in_flight: int, fails_below: int = 0) -> Batcher[int]:
    settings = JobRequest(("data",), ("lookup",), lookup, batch_size=4).to_settings()
    engine, (model,) = open_job_engine(settings), open_models(settings)
    return Batcher(ModelGroup(Failing(engine, fails_below), (model,)), in_flight)


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("bad", [{2}, {0, 3, 5}, {4, 5, 6, 7}, set(range(9))])
def test_rows_on_which_a_model_does_not_run_are_told_and_cost_the_others_nothing(
    lookup: Path, in_flight: int, bad: set[int]
) -> None:
    batcher = batcher_of(lookup, in_flight)
    indices = [99 if number in bad else number % 5 for number in range(9)]
    batches = [each for number, index in enumerate(indices) for each in batcher.push(number, np.array([index]))]
    batches += batcher.finish()
    assert [key for batch in batches for key in batch.keys] == list(range(9))
    assert {key for batch in batches if batch.error for key in batch.keys} == bad
    for batch in batches:
        for key, row in zip(batch.keys, *batch.outputs, strict=True) if not batch.error else ():
            ((_, expected),) = pairs([*batcher.push(0, np.array([indices[key]])), *batcher.finish()])
            np.testing.assert_allclose(row, expected, rtol=1e-5)


@pytest.mark.parametrize("in_flight", [1, 4])
def test_an_engine_that_runs_nothing_is_no_matter_of_the_rows(lookup: Path, in_flight: int) -> None:
    batcher = batcher_of(lookup, in_flight, fails_below=9)
    with pytest.raises(EngineError, match="on fire"):
        deque((*batcher.push(0, np.array([1])), *batcher.finish()))


def test_a_row_that_a_server_ran_with_a_bad_one_of_somebody_else_has_its_own_result(lookup: Path) -> None:
    batcher = batcher_of(lookup, in_flight=4, fails_below=8)
    shared = [*(each for number in range(3) for each in batcher.push(number, np.array([number]))), *batcher.finish()]
    batcher = batcher_of(lookup, in_flight=4)
    alone = [*(each for number in range(3) for each in batcher.push(number, np.array([number]))), *batcher.finish()]
    assert [key for key, _ in pairs(shared)] == [0, 1, 2]
    np.testing.assert_allclose([row for _, row in pairs(shared)], [row for _, row in pairs(alone)], rtol=1e-5)

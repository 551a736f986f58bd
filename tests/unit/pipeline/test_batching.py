"""batching.py with a real engine: every row gets its own result, in order, however many batches run at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from support.sounds import tone

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine
from avizor_pipeline.batching import Batch, Batcher
from avizor_pipeline.model_groups import ModelGroup
from avizor_pipeline.models import JobModel, open_job_engine, open_models
from avizor_pipeline.request import JobRequest

Key = TypeVar("Key")

ROWS = [tone(4096 / 8000, seed=seed, hz=200 + 100 * seed) for seed in range(7)]


def pairs(batches: Iterator[Batch[Key]]) -> list[tuple[Key, Array]]:
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

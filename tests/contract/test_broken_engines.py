"""The contract suite is red for an engine that answers a little wrongly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from contract import test_engine as suite

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.repository.models import ModelRepository


class Broken(suite.Wrapper):
    """Changes each answer of the engine that it wraps."""

    def __init__(self, inner: Engine, change: Callable[[dict[str, Array]], dict[str, Array]]) -> None:
        super().__init__(inner)
        self._change = change

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        future: Future[dict[str, Array]] = Future()
        future.set_result(self._change(self._inner.infer(request)))
        return future


@pytest.fixture(params=["ort", "openvino", "triton"])
def inner(request: pytest.FixtureRequest, models: Path) -> Iterator[Engine]:
    name = f"triton://{request.getfixturevalue('triton_address')}" if request.param == "triton" else request.param
    with open_engine(name, ModelRepository(models)) as opened:
        yield opened


def test_a_difference_of_a_thousandth_is_seen(inner: Engine, models: Path) -> None:
    broken = Broken(inner, lambda answers: {name: values + np.float32(1e-3) for name, values in answers.items()})
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        suite.test_answers_are_the_graphs(broken, models, 3)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        suite.test_the_probe_items_of_each_model_agree(broken, models)


def test_rows_in_another_order_are_seen(inner: Engine, models: Path) -> None:
    broken = Broken(inner, lambda answers: {name: values[::-1] for name, values in answers.items()})
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        suite.test_answers_are_the_graphs(broken, models, 3)


def test_outputs_in_another_order_are_seen(inner: Engine) -> None:
    broken = Broken(inner, lambda answers: dict(reversed(answers.items())))
    with pytest.raises(AssertionError):
        suite.test_outputs_come_in_the_order_asked_for_and_no_others(broken)

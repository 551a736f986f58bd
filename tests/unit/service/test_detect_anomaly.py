"""rpcs/detect_anomaly.py with a real engine and no server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from google.rpc.code_pb2 import Code
from support.tables import transfers
from unit.service.gateways import call, open_gateway, sound

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import CalibrationError, InvalidInput
from avizor_inference.repository.models import ModelRepository
from avizor_service.gateway import Gateway
from avizor_service.metrics import Metrics
from avizor_service.rpcs.detect_anomaly import detect_anomaly


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def gateway(models: Path, metrics: Metrics) -> Iterator[Gateway]:
    with open_gateway(models, metrics) as gateway:
        yield gateway


def ask(
    gateway: Gateway, *items: pb.Item, model: str = "normal", alpha: float = 0, confidence: float = 0
) -> pb.DetectAnomalyResponse:
    request = pb.DetectAnomalyRequest(model=model, items=items, alpha=alpha, confidence=confidence)
    return asyncio.run(detect_anomaly(gateway, request, call("DetectAnomaly")))


def counted(metrics: Metrics, name: str, source: str) -> float | None:
    return metrics.registry.get_sample_value(f"avizor_{name}_total", {"model": "normal", "source": source})


def test_a_recording_of_the_calibration_is_judged_by_its_source_and_counted(
    gateway: Gateway, metrics: Metrics, models: Path
) -> None:
    answer = ask(gateway, sound(3 * 0.512, source="a", seed=7))
    (calibration,) = ModelRepository(models).version("normal").calibrations()
    assert (answer.model, answer.version, answer.alpha, answer.calibration_id) == ("normal", 1, 0.05, calibration.id)
    (item,) = answer.items
    assert (item.judged_by, len(item.windows)) == ("a", 3)
    assert 0 < item.p_value <= 1
    assert item.is_anomaly == (item.p_value <= 0.05)
    scores = [window.score for window in item.windows]
    assert np.mean(scores) <= item.score <= max(scores)
    assert (counted(metrics, "items_scored", "a"), counted(metrics, "items_scored", "b")) == (1, 0)


def test_a_short_recording_is_not_judged_by_long_ones_and_counted_as_such(gateway: Gateway, metrics: Metrics) -> None:
    long, short, broken = ask(gateway, sound(1.5, "b"), sound(0.1, "b"), pb.Item(audio=b"no sound", source="b")).items
    assert not long.HasField("error")
    assert short.error.code == Code.FAILED_PRECONDITION
    assert "the item is not judged: " in short.error.message
    assert broken.error.code == Code.INVALID_ARGUMENT
    assert (counted(metrics, "items_scored", "b"), counted(metrics, "items_not_judged", "b")) == (1, 1)


def test_a_row_of_a_table_is_one_window_without_a_span(gateway: Gateway) -> None:
    amount, hour, _ = map(float, transfers(1, seed=3)[0])
    item = pb.Item(source="a")
    item.row.update({"amount": amount, "hour": hour, "country": "ES"})
    (judged,) = ask(gateway, item, model="transfers").items
    (window,) = judged.windows
    assert window.span == pb.Span()
    assert window.p_value == judged.p_value


@pytest.mark.parametrize("alpha", [-0.1, 1.0, 5.0])
def test_an_alpha_that_is_no_share_is_refused(gateway: Gateway, alpha: float) -> None:
    with pytest.raises(InvalidInput, match="is not between 0 and 1") as caught:
        ask(gateway, sound(1.0), alpha=alpha)
    assert caught.value.field == "alpha"


def test_an_alpha_that_the_calibration_cannot_support_is_refused(gateway: Gateway) -> None:
    assert ask(gateway, sound(1.0), alpha=0.2).alpha == 0.2
    with pytest.raises(CalibrationError):
        ask(gateway, sound(1.0), alpha=0.001)


def test_a_request_may_ask_that_the_calibration_keeps_alpha(gateway: Gateway) -> None:
    """Thirty recordings of the source are too few for a confidence of 0.95, all sixty are enough."""
    on_average, kept = (ask(gateway, sound(1.0, "a", seed=3), confidence=confidence) for confidence in (0, 0.95))
    assert (on_average.confidence, kept.confidence) == (0, 0.95)
    assert [answer.items[0].p_value for answer in (on_average, kept)] == [on_average.items[0].p_value] * 2
    with pytest.raises(CalibrationError, match=r"alpha 0\.04 with confidence 0\.95 needs at least 74 normal items"):
        ask(gateway, sound(1.0), alpha=0.04, confidence=0.95)


@pytest.mark.parametrize("confidence", [-0.1, 1.0, 95.0])
def test_a_confidence_that_is_no_probability_is_refused(gateway: Gateway, confidence: float) -> None:
    with pytest.raises(InvalidInput, match="is not between 0 and 1; it is the probability") as caught:
        ask(gateway, sound(1.0), confidence=confidence)
    assert caught.value.field == "confidence"

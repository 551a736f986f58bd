"""outputs.py, Embed and Reconstruct with a real engine and no server: what is refused before anything runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from unit.service.gateways import call, open_gateway, sound

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import AnswerTooLarge, InvalidInput, UnknownOutput
from avizor_service.gateway import Gateway
from avizor_service.rpcs.classify import classify
from avizor_service.rpcs.detect_anomaly import detect_anomaly
from avizor_service.rpcs.embed import embed
from avizor_service.rpcs.reconstruct import reconstruct


@pytest.fixture(scope="module")
def gateway(models: Path) -> Iterator[Gateway]:
    with open_gateway(models, max_answer_mib=1, max_windows=1000) as gateway:
        yield gateway


def test_outputs_come_with_the_verdicts_and_classes_that_they_belong_to(gateway: Gateway) -> None:
    names = ["error_map", "embedding", "reconstruction", "error_map"]
    request = pb.DetectAnomalyRequest(model="normal", items=[sound(1.5, "a"), pb.Item()], outputs=names)
    good, bad = asyncio.run(detect_anomaly(gateway, request, call("DetectAnomaly"))).items
    assert sorted(good.outputs) == ["embedding", "error_map", "reconstruction"]
    assert list(good.outputs["reconstruction"].shape) == [3, 1, 16, 17]
    map = good.outputs["error_map"]
    assert (map.dtype, list(map.shape)) == ("float32", [3, 1, 16, 17])
    scores = np.frombuffer(map.data, "<f4").reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose(scores, [window.score for window in good.windows], rtol=1e-5)
    assert bad.error.code
    assert not bad.outputs
    (made,) = asyncio.run(
        reconstruct(gateway, pb.ReconstructRequest(model="normal", items=[sound(1.5, "a")]), call("Reconstruct"))
    ).items
    assert good.outputs["reconstruction"] == made.tensor

    plain = pb.ClassifyRequest(model="kinds", items=[sound(1.5)], top_k=3)
    (item,) = asyncio.run(classify(gateway, plain, call("Classify"))).items
    assert not item.outputs
    plain.outputs.append("probabilities")
    (item,) = asyncio.run(classify(gateway, plain, call("Classify"))).items
    probabilities = np.frombuffer(item.outputs["probabilities"].data, "<f4").reshape(3, 3)
    for row, window in zip(probabilities, item.windows, strict=True):
        assert [each.probability for each in window.classes] == sorted(row.tolist(), reverse=True)


def test_an_output_that_the_model_does_not_have_is_named(gateway: Gateway) -> None:
    detect = pb.DetectAnomalyRequest(model="normal", items=[sound(1.0)], outputs=["score", "heat"])
    with pytest.raises(UnknownOutput, match="no output 'heat'; it has score, error_map, reconstruction, embedding") as caught:
        asyncio.run(detect_anomaly(gateway, detect, call("DetectAnomaly")))
    assert caught.value.field == "outputs[1]"
    request = pb.ClassifyRequest(model="kinds", items=[sound(1.0)], outputs=[""])
    with pytest.raises(UnknownOutput) as caught:
        asyncio.run(classify(gateway, request, call("Classify")))
    assert caught.value.field == "outputs[0]"


def test_an_answer_that_would_be_too_large_is_refused_with_the_limit(gateway: Gateway) -> None:
    # 900 windows: 16 x 17 float32 each, and 128 bytes
    items = [sound(0.512 * 300)] * 3
    with pytest.raises(AnswerTooLarge, match=r"900 windows of reconstruction have 1 MiB, .* at most 1 MiB") as caught:
        asyncio.run(reconstruct(gateway, pb.ReconstructRequest(model="normal", items=items), call("Reconstruct")))
    assert caught.value.field == "items"
    answer = asyncio.run(reconstruct(gateway, pb.ReconstructRequest(model="normal", items=items[:2]), call("Reconstruct")))
    assert [list(item.tensor.shape) for item in answer.items] == [[300, 1, 16, 17]] * 2
    assert [len(item.spans) for item in answer.items] == [300, 300]
    embeddings = asyncio.run(embed(gateway, pb.EmbedRequest(model="normal", items=items), call("Embed"))).items
    assert [list(item.embedding.shape) for item in embeddings] == [[300, 4]] * 3


def test_the_classes_of_an_answer_count_too(gateway: Gateway) -> None:
    items = [sound(0.512 * 900)] * 6  # 140 bytes a window without classes: less than the limit
    request = pb.ClassifyRequest(model="kinds", items=items, top_k=3)
    with pytest.raises(AnswerTooLarge, match="5400 windows of probabilities"):
        asyncio.run(classify(gateway, request, call("Classify")))


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_threshold_is_a_probability(gateway: Gateway, threshold: float) -> None:
    request = pb.ClassifyRequest(model="kinds", items=[sound(1.0)], threshold=threshold)
    with pytest.raises(InvalidInput, match="is not a probability") as caught:
        asyncio.run(classify(gateway, request, call("Classify")))
    assert caught.value.field == "threshold"


def test_only_classes_over_the_threshold_are_returned(gateway: Gateway) -> None:
    request = pb.ClassifyRequest(model="kinds", items=[sound(0.512)], top_k=3)
    (every,) = asyncio.run(classify(gateway, request, call("Classify"))).items
    request.threshold = every.classes[1].probability
    (two,) = asyncio.run(classify(gateway, request, call("Classify"))).items
    assert list(two.classes) == list(two.windows[0].classes) == list(every.classes[:2])
    request.threshold = 1
    (none,) = asyncio.run(classify(gateway, request, call("Classify"))).items
    assert (len(none.classes), len(none.windows), len(none.windows[0].classes)) == (0, 1, 0)


def test_embeddings_come_from_models_for_any_task_that_have_them(gateway: Gateway) -> None:
    request = pb.EmbedRequest(model="kinds", items=[sound(1.5), pb.Item()])
    good, bad = asyncio.run(embed(gateway, request, call("Embed"))).items
    assert good.embedding.dtype == "float32"
    assert good.embedding.shape[0] == len(good.spans) == 3
    assert bad.error.message.startswith("the item holds nothing")
    with pytest.raises(InvalidInput, match=r"has no output embedding .* export it with --embedding LAYER") as caught:
        asyncio.run(embed(gateway, pb.EmbedRequest(model="transfers", items=[pb.Item()]), call("Embed")))
    assert caught.value.field == "model"


@pytest.mark.parametrize(
    ("model", "format", "field", "message"),
    [
        ("normal", pb.RECONSTRUCTION_FORMAT_WAV, "format", "no sound can be computed"),
        ("normal", pb.RECONSTRUCTION_FORMAT_PNG, "format", "reconstructs no picture"),
        ("transfers", pb.RECONSTRUCTION_FORMAT_PNG, "format", "reconstructs no picture"),
        ("normal", 9, "format", "format 9 is not known"),
        ("kinds", pb.RECONSTRUCTION_FORMAT_TENSOR, "model", "call Classify"),
    ],
)
def test_a_format_that_the_model_cannot_return_is_refused(
    gateway: Gateway, model: str, format: pb.ReconstructionFormat, field: str, message: str
) -> None:
    request = pb.ReconstructRequest(model=model, items=[pb.Item()], format=format)
    with pytest.raises(InvalidInput, match=message) as caught:
        asyncio.run(reconstruct(gateway, request, call("Reconstruct")))
    assert caught.value.field == field

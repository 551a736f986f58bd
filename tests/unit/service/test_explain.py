"""rpcs/explain.py with a real engine and no server: which maps there are, of which window, what they cost, what is refused."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tables import transfers
from unit.service.gateways import call, open_gateway, sound

from avizor.v1 import inference_pb2 as pb
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import AnswerTooLarge, DeadlineExceeded, GatewayFull, InvalidInput, SettingsError
from avizor_inference.explain.cam import class_maps
from avizor_inference.explain.error_map import error_map
from avizor_inference.explain.hiding.settings import HidingSettings
from avizor_inference.explain.occlusion import occlusion_map
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.repository.models import ModelRepository
from avizor_service.gateway import Gateway
from avizor_service.metrics import Metrics
from avizor_service.rpcs.explain import explain, name_over_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 1)).astype(np.uint8)
PICTURE = pb.Item(tensor=pb.Tensor(dtype="uint8", shape=PIXELS.shape, data=PIXELS.tobytes()))
COARSE = pb.OcclusionSettings(size=[8, 16], stride=[8, 16], fill="black")  # 8 parts
OCCLUSION = pb.EXPLANATION_METHOD_OCCLUSION


@pytest.fixture(scope="module")
def gateway(models: Path) -> Iterator[Gateway]:
    with open_gateway(models) as gateway:
        yield gateway


def answer(gateway: Gateway, model: str, *items: pb.Item, **fields: Any) -> pb.ExplainResponse:
    request = pb.ExplainRequest(model=model, items=items or (PICTURE,), **fields)
    return asyncio.run(explain(gateway, request, call("Explain")))


def array(tensor: pb.Tensor) -> np.ndarray:
    return np.frombuffer(tensor.data, tensor.dtype).reshape(tuple(tensor.shape))


def test_an_occlusion_map_is_that_of_the_engine_alone(gateway: Gateway, models: Path) -> None:
    response = answer(gateway, "digits", method=OCCLUSION, label="3", occlusion=COARSE)
    (found,) = response.items
    settings = HidingSettings((8, 16), (8, 16), "black")
    with EmbeddedEngine(models) as engine:
        version = ModelRepository(models).version("digits")
        wanted = occlusion_map(engine, version, RawRow("", 0, PIXELS), settings, "3")
    np.testing.assert_allclose(array(found.map), wanted.values, atol=1e-6)
    assert (found.method, found.label, found.value_unit, found.window) == (OCCLUSION, "3", "probability", 0)
    assert found.value == pytest.approx(wanted.target_value, abs=1e-6)
    assert list(found.y.edges) == [0, 8, 16, 24, 32]
    assert (list(found.x.edges), found.x.unit) == ([0, 16, 32], "pixels")
    assert (response.rows, dict(found.settings)["copies"]) == (9, "8")
    assert not found.png


def test_a_picture_is_returned_where_it_is_asked_for_and_numbers_where_they_are(gateway: Gateway) -> None:
    for format, has_numbers in ((pb.EXPLANATION_FORMAT_PNG, False), (pb.EXPLANATION_FORMAT_BOTH, True)):
        (found,) = answer(gateway, "digits", method=OCCLUSION, occlusion=COARSE, format=format).items
        assert found.png.startswith(b"\x89PNG")
        assert (found.HasField("map"), found.HasField("x")) == (has_numbers, has_numbers)
        assert found.label


def test_without_a_window_that_of_the_highest_probability_is_explained(gateway: Gateway, models: Path) -> None:
    recording, settings = sound(4.0, seed=3), pb.OcclusionSettings(size=[0.256])
    windows = asyncio.run(gateway.inference.run(gateway.catalogue.open("kinds"), [recording], ["probabilities"], lambda: None))
    (probabilities,) = [each.outputs["probabilities"] for each in windows]  # type: ignore[union-attr]
    assert len(probabilities) > 4
    for label, column in (("high", 2), ("low", 0)):
        response = answer(gateway, "kinds", recording, label=label, method=OCCLUSION, occlusion=settings)
        (found,) = response.items
        assert found.window == probabilities[:, column].argmax()
        assert found.value == pytest.approx(probabilities[:, column].max(), rel=1e-3)
        assert found.span.start_sample < found.span.end_sample
        assert response.rows == len(probabilities) + int(found.settings["copies"]) + 1
    (found,) = answer(gateway, "kinds", recording, method=OCCLUSION, occlusion=settings).items
    column = probabilities.mean(axis=0).argmax()  # of the whole sound, as Classify has it
    assert (found.label, found.window) == (("low", "mid", "high")[column], probabilities[:, column].argmax())
    response = answer(gateway, "kinds", recording, method=OCCLUSION, occlusion=settings, window=1)
    assert response.items[0].window == 1
    assert response.rows == int(response.items[0].settings["copies"]) + 1


def test_of_an_autoencoder_the_window_with_the_highest_score_is_explained(gateway: Gateway) -> None:
    recording = sound(3.0, seed=8)
    model = gateway.catalogue.open("normal")
    (result,) = asyncio.run(gateway.inference.run(model, [recording], ["score"], lambda: None))
    (found,) = answer(gateway, "normal", recording, method=OCCLUSION).items
    scores = result.outputs["score"][:, 0]  # type: ignore[union-attr]
    assert (found.window, found.label, found.value_unit) == (scores.argmax(), "", "score")
    assert found.value == pytest.approx(scores.max(), rel=1e-3)


def test_rows_of_a_table_have_a_place_for_each_column(gateway: Gateway) -> None:
    values = transfers(1)[0]
    item = pb.Item(tensor=pb.Tensor(dtype="float32", shape=values.shape, data=values.tobytes()))
    (found,) = answer(gateway, "transfers", item, method=OCCLUSION).items
    assert list(found.x.names) == list(gateway.catalogue.open("transfers").manifest.input.columns)  # type: ignore[union-attr]
    assert tuple(found.map.shape) == (1, len(found.x.names))


def test_a_bad_item_or_window_costs_the_others_nothing(gateway: Gateway) -> None:
    bad, short, good = answer(gateway, "kinds", pb.Item(), sound(0.5), sound(3.0), method=OCCLUSION, window=2).items
    assert bad.error.message.startswith("the item holds nothing")
    assert short.error.message == "window 2 is asked for, and the item has 1, from 0 on"
    assert good.window == 2


@pytest.mark.parametrize(
    ("model", "fields", "field", "message"),
    [
        ("digits", {"method": 9}, "method", "method 9 is not known; see ExplanationMethod"),
        ("digits", {"format": -1}, "format", "format -1 is not known; see ExplanationFormat"),
        ("digits", {"window": -1}, "window", "below 0"),
        ("digits", {"label": "ten"}, "label", "has no class 'ten'; it has 0, 1"),
        ("normal", {"label": "score"}, "label", "has no classes"),
        ("digits", {"method": pb.EXPLANATION_METHOD_ERROR_MAP}, "method", "ask for CAM or OCCLUSION"),
        ("normal", {"method": pb.EXPLANATION_METHOD_CAM}, "method", "ask for ERROR_MAP or OCCLUSION"),
        ("transfers", {"method": pb.EXPLANATION_METHOD_CAM}, "method", "is an autoencoder"),
        ("normal", {"method": pb.EXPLANATION_METHOD_ERROR_MAP, "occlusion": COARSE}, "occlusion", "leave them out"),
        ("digits", {"method": OCCLUSION, "occlusion": {"by": 7}}, "occlusion.by", "by 7 is not known"),
        ("digits", {"method": OCCLUSION, "occlusion": {"by": pb.OCCLUSION_BY_TIME}}, "occlusion", "is for sound"),
        ("digits", {"method": OCCLUSION, "occlusion": {"size": [float("nan")]}}, "occlusion", "not a whole number"),
        ("digits", {"method": OCCLUSION, "occlusion": {"stride": [-float("inf")]}}, "occlusion", "not a whole number"),
        ("digits", {"method": OCCLUSION, "occlusion": {"size": [4] * 10_000}}, "occlusion", "10000 numbers"),
        ("digits", {"method": OCCLUSION, "occlusion": {"fill": "nan"}}, "occlusion", "fill 'nan'"),
        ("kinds", {"method": OCCLUSION, "occlusion": {"size": [1e-300], "by": 2}}, "occlusion", "larger stride"),
        ("kinds", {"method": OCCLUSION, "occlusion": {"size": [1e300]}}, "occlusion", "does not fit"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_field(
    gateway: Gateway, model: str, fields: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        answer(gateway, model, **fields)
    assert caught.value.field == field


def test_a_call_that_would_cost_too_much_is_refused_before_it_runs(models: Path) -> None:
    metrics = Metrics()
    with open_gateway(models, metrics, max_explain_rows=20) as gateway:
        settings = pb.OcclusionSettings(size=[1], stride=[1])
        with pytest.raises(
            InvalidInput, match=r"1025 rows .* \(1025 for each of 1 maps\), .* at most 20 .* larger stride$"
        ) as caught:
            answer(gateway, "digits", method=OCCLUSION, occlusion=settings)
        assert caught.value.field == "occlusion"
        with pytest.raises(InvalidInput, match=r"9 for each of 3 maps.*larger stride or fewer items"):
            answer(gateway, "digits", PICTURE, PICTURE, PICTURE, method=OCCLUSION, occlusion=COARSE)
        with pytest.raises(InvalidInput, match=r"and \d+ windows to choose from.*or one window"):
            answer(gateway, "kinds", sound(9.0), method=OCCLUSION, occlusion=pb.OcclusionSettings(size=[0.1]))
        assert gateway.inference.loads.of("digits").throughput.rate() is None  # nothing has run
        assert answer(gateway, "digits", PICTURE, PICTURE, method=OCCLUSION, occlusion=COARSE).rows == 18


def test_a_call_whose_rows_take_longer_than_its_deadline_is_refused(gateway: Gateway) -> None:
    loads = gateway.inference.loads
    loads.check_time("digits", 10**9, 1e-3)  # nothing is known yet of a model that has not run
    load = loads.of("digits").throughput
    while load.rate() is None:
        answer(gateway, "digits", method=OCCLUSION)
    with pytest.raises(DeadlineExceeded, match=r"1000000000 rows of model 'digits' take about"):
        loads.check_time("digits", 10**9, 1.0)
    loads.check_time("digits", 10**9, None)


def test_maps_larger_than_an_answer_may_be_are_refused(models: Path) -> None:
    with open_gateway(models, max_answer_mib=1) as gateway:
        fine = pb.OcclusionSettings(size=[2], stride=[1])
        items = [PICTURE] * 4
        assert len(answer(gateway, "digits", *items, method=OCCLUSION, occlusion=fine).items) == 4
        object.__setattr__(gateway.settings, "max_answer_mib", 0)
        with pytest.raises(AnswerTooLarge, match="send fewer items"):
            answer(gateway, "digits", *items, method=OCCLUSION, occlusion=fine)


def test_more_explanations_than_places_are_rejected(models: Path) -> None:
    with open_gateway(models, max_explanations=1) as gateway:

        async def both() -> list[pb.ExplainResponse | BaseException]:
            request = pb.ExplainRequest(model="digits", items=[PICTURE], method=OCCLUSION)
            return await asyncio.gather(*(explain(gateway, request, call("Explain")) for _ in range(2)), return_exceptions=True)

        answer(gateway, "digits", method=OCCLUSION)
        first, second = asyncio.run(both())
        assert isinstance(first, pb.ExplainResponse)
        assert isinstance(second, GatewayFull)


def test_without_matplotlib_numbers_are_returned_and_pictures_refused(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert answer(gateway, "digits", method=OCCLUSION, occlusion=COARSE).items[0].HasField("map")
    with pytest.raises(SettingsError, match=r"pip install 'avizor\[pictures\]' there; numbers alone need none$"):
        answer(gateway, "digits", method=OCCLUSION, occlusion=COARSE, format=pb.EXPLANATION_FORMAT_PNG)


def test_without_onnx_runtime_a_class_activation_map_is_refused_and_it_is_said_where(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SettingsError, match="needs onnxruntime, which is not installed where the gateway runs; pip install "):
        answer(gateway, "digits", method=pb.EXPLANATION_METHOD_CAM)


def test_the_work_of_a_map_is_gone_when_its_call_is_cancelled(gateway: Gateway) -> None:
    async def cancelled() -> None:
        request = pb.ExplainRequest(model="digits", items=[PICTURE] * 10, method=OCCLUSION)
        calling = asyncio.create_task(explain(gateway, request, call("Explain")))
        load = gateway.inference.loads.of("digits").throughput
        while not load.in_progress:
            await asyncio.sleep(0.001)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert load.in_progress == 0
        with gateway.explanations.place(), gateway.explanations.place():  # both are free again
            pass

    asyncio.run(cancelled())


def test_a_classifier_has_its_class_activation_map(gateway: Gateway, models: Path) -> None:
    for label in ("", "3"):
        response = answer(gateway, "digits", PICTURE, PICTURE, method=pb.EXPLANATION_METHOD_CAM if label else 0, label=label)
        with EmbeddedEngine(models) as engine:
            version = ModelRepository(models).version("digits")
            (wanted,) = class_maps(engine, version, [RawRow("", 0, PIXELS)], label or None)
        for found in response.items:
            np.testing.assert_allclose(array(found.map), wanted.values, rtol=1e-4, atol=1e-5)
            assert (found.method, found.label, found.value_unit) == (pb.EXPLANATION_METHOD_CAM, wanted.target, "logit")
            assert found.value == pytest.approx(wanted.target_value, rel=1e-4)
            assert sorted(found.class_numbers) == ["bias", "logits", "probabilities"]
            assert array(found.class_numbers["logits"])[int(found.label)] == pytest.approx(found.value)
        assert response.rows == 2


def test_an_autoencoder_has_its_error_map(gateway: Gateway, models: Path) -> None:
    recording = sound(1.5)
    for fields in ({}, {"method": pb.EXPLANATION_METHOD_ERROR_MAP}):
        response = answer(gateway, "normal", recording, window=1, format=pb.EXPLANATION_FORMAT_BOTH, **fields)
        (found,) = response.items
        model = gateway.catalogue.open("normal")
        (result,) = asyncio.run(gateway.inference.run(model, [recording], ["score"], lambda: None))
        row = RawRow("", 1, result.item.rows[1], result.item.spans[1])  # type: ignore[union-attr]
        with EmbeddedEngine(models) as engine:
            wanted = error_map(engine, ModelRepository(models).version("normal"), row)
        np.testing.assert_allclose(array(found.map), wanted.values, rtol=1e-3, atol=1e-6)
        assert (found.method, found.value_unit, found.x.unit, found.y.unit) == (
            pb.EXPLANATION_METHOD_ERROR_MAP,
            "score",
            "seconds",
            "Hz",
        )
        np.testing.assert_allclose(found.x.edges, wanted.x.edges)
        assert response.rows == 1


def test_the_beginning_of_a_source_is_written_over_a_picture() -> None:
    assert name_over_picture(pb.Item(source="pump 1.wav"), 0) == "pump 1.wav"
    assert name_over_picture(pb.Item(source="\0\n" + "x" * 10**6), 0) == "x" * 58
    assert name_over_picture(pb.Item(), 3) == "item 3"

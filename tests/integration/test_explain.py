"""Explain over real sockets, on both engines: maps are the engine's, and explanations hold up nobody and nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from integration.gateway import IMAGE, Gateway, Stub, gateway, normal, png, refused
from support.environment import device
from support.tables import TRANSFER, transfers
from torch import nn

from avizor.v1 import inference_pb2 as pb
from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.engines.base import Engine
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.explain.cam import class_maps
from avizor_inference.explain.error_map import error_map
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.hiding.settings import HidingSettings
from avizor_inference.explain.occlusion import occlusion_map
from avizor_inference.explain.raw_rows import RawRow, read_rows
from avizor_inference.items.input_spec import ImageInput
from avizor_inference.repository.models import ModelRepository

PICTURE = np.random.default_rng(3).integers(0, 256, (32, 32), np.uint8)
OCCLUSION = pb.EXPLANATION_METHOD_OCCLUSION
FINE = pb.OcclusionSettings(size=[2], stride=[1])  # 961 rows
SLOW = pb.ExplainRequest(model="digits", items=[IMAGE] * 4, method=OCCLUSION, occlusion=FINE)


def array(tensor: pb.Tensor) -> np.ndarray:
    return np.frombuffer(tensor.data, tensor.dtype).reshape(tuple(tensor.shape))


@pytest.fixture
def engine(served: Gateway, request: pytest.FixtureRequest, models: Path) -> Iterator[Engine]:
    """The engine of the gateway that is served."""
    parameter = request.node.callspec.params["served"]
    name = "ort" if parameter == "embedded" else f"triton://{request.getfixturevalue('triton_address')}"
    with open_engine(name, ModelRepository(models)) as opened:
        yield opened


def row_of(content: bytes, suffix: str, folder: Path, model: str, models: Path, index: int = 0) -> RawRow:
    path = folder / f"item{suffix}"
    path.write_bytes(content)
    return read_rows(path, ModelRepository(models).version(model).manifest.input)[index]


def same(found: pb.Explanation, wanted: HeatMap) -> None:
    scale = float(np.abs(wanted.values).max())
    np.testing.assert_allclose(array(found.map), wanted.values, atol=1e-4 * scale, rtol=1e-4)
    assert (found.label or "score", found.value_unit) == (wanted.target, wanted.target_unit)
    assert found.value == pytest.approx(wanted.target_value, rel=1e-4)
    for axis, expected in ((found.y, wanted.y), (found.x, wanted.x)):
        np.testing.assert_allclose(axis.edges, expected.edges)
        assert (axis.unit, tuple(axis.names)) == (expected.unit, expected.names)
    assert dict(found.settings) == wanted.settings


def test_the_maps_of_all_three_methods_are_those_of_the_engine(
    stub: Stub, engine: Engine, models: Path, tmp_path: Path
) -> None:
    repository = ModelRepository(models)
    picture = row_of(png(PICTURE), ".png", tmp_path, "digits", models)
    request = pb.ExplainRequest(model="digits", items=[pb.Item(image=png(PICTURE))], format=pb.EXPLANATION_FORMAT_BOTH)
    (found,) = stub.Explain(request).items
    assert found.method == pb.EXPLANATION_METHOD_CAM
    assert found.png.startswith(b"\x89PNG")
    (wanted,) = class_maps(engine, repository.version("digits"), [picture])
    same(found, wanted)

    request.method, request.label = OCCLUSION, "7"
    request.occlusion.CopyFrom(pb.OcclusionSettings(size=[8], stride=[4], fill="blur"))
    (found,) = stub.Explain(request).items
    settings = HidingSettings((8,), (4,), "blur")
    same(found, occlusion_map(engine, repository.version("digits"), picture, settings, "7"))

    window = row_of(normal(), ".wav", tmp_path, "normal", models, 1)
    request = pb.ExplainRequest(model="normal", items=[pb.Item(audio=normal())], window=1)
    (found,) = stub.Explain(request).items
    assert found.method == pb.EXPLANATION_METHOD_ERROR_MAP
    same(found, error_map(engine, repository.version("normal"), window))

    request.method, request.occlusion.by = OCCLUSION, pb.OCCLUSION_BY_FREQUENCY
    (found,) = stub.Explain(request).items
    same(found, occlusion_map(engine, repository.version("normal"), window, HidingSettings(by="frequency")))


def test_explanations_are_counted_like_all_calls(served: Gateway, stub: Stub) -> None:
    stub.Explain(pb.ExplainRequest(model="digits", items=[IMAGE]))
    with pytest.raises(grpc.RpcError) as caught:
        stub.Explain(pb.ExplainRequest(model="digits", items=[IMAGE], label="x" * 10_000))
    code, details = refused(caught.value)
    assert (code, details.startswith("model 'digits' has no class 'xxx"), len(details) < 200) == (
        "INVALID_ARGUMENT",
        True,
        True,
    )
    counted = served.metrics()
    assert counted['avizor_requests_total{code="OK",model="digits",rpc="Explain"}'] >= 1
    assert counted['avizor_requests_total{code="INVALID_ARGUMENT",model="digits",rpc="Explain"}'] >= 1


def test_classify_is_answered_while_eight_calls_want_explanations(served: Gateway, stub: Stub) -> None:
    """Two are computed and six rejected, again and again; the calls of Classify beside them are all answered."""
    ended = threading.Event()
    codes: list[str] = []

    def explain() -> None:
        with grpc.insecure_channel(served.address) as channel:
            while not ended.is_set():
                try:
                    served.stub(channel).Explain(SLOW)
                    codes.append("OK")
                except grpc.RpcError as error:
                    codes.append(error.code().name)
                    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                        time.sleep(_retry_s(error))

    before = served.metrics().get('avizor_rejected_total{reason="explanations"}', 0)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(explain) for _ in range(8)]
        try:
            while len(codes) < 6:
                time.sleep(0.01)
            done_before = codes.count("OK")
            for _ in range(20):
                assert stub.Classify(pb.ClassifyRequest(model="digits", items=[IMAGE])).items[0].classes
            done_meanwhile = codes.count("OK") - done_before
        finally:
            ended.set()
        for call in calls:
            call.result()
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
    assert served.metrics()['avizor_rejected_total{reason="explanations"}'] - before == codes.count("RESOURCE_EXHAUSTED")
    # Each explanation runs 3,848 rows in 241 batches. Had each call of Classify waited for the two, 40 had ended meanwhile.
    assert done_meanwhile < 20


def _retry_s(error: grpc.RpcError) -> float:
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    retry = RetryInfo()
    assert status.details[0].Unpack(retry)
    return min(1.0, float(retry.retry_delay.ToMilliseconds()) / 1000)


def test_a_call_that_is_cancelled_or_late_ends_its_work(served: Gateway, stub: Stub) -> None:
    series = 'avizor_rows_in_progress{model="digits"}'
    for _ in range(3):
        calling = stub.Explain.future(SLOW)
        while not served.metrics().get(series):
            time.sleep(0.005)
        calling.cancel()
        served.wait_until_idle()
        assert served.metrics()[series] == 0
    for timeout_s in (0.001, 0.01, 0.03):  # it takes 0.1 s on a machine that does nothing else
        with pytest.raises(grpc.RpcError) as caught:
            stub.Explain(SLOW, timeout=timeout_s)
        # RESOURCE_EXHAUSTED: it was refused, since earlier items took longer to decode than it gives.
        assert caught.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
    served.wait_until_idle()
    assert served.metrics()[series] == 0
    assert stub.Explain(pb.ExplainRequest(model="digits", items=[IMAGE])).items[0].HasField("map")


@pytest.mark.slow
def test_two_hundred_calls_at_once_leave_the_memory_as_it_was(models: Path) -> None:
    request = pb.ExplainRequest(
        model="digits",
        items=[IMAGE],
        method=OCCLUSION,
        occlusion=pb.OcclusionSettings(size=[4], stride=[1]),
        format=pb.EXPLANATION_FORMAT_BOTH,
    )
    with gateway(models, "--alpha", 0.05, "--device", device()) as running, grpc.insecure_channel(running.address) as channel:
        process = psutil.Process(running.process.pid)

        def wave() -> list[str]:
            calls = [running.stub(channel).Explain.future(request, wait_for_ready=True) for _ in range(200)]
            codes = [str(call.code().name) for call in calls]
            running.wait_until_idle()
            return codes

        waves = [wave()]
        before = process.memory_info().rss
        waves += [wave() for _ in range(3)]
        assert process.memory_info().rss - before < 32 << 20
    for codes in waves:
        assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}


def test_a_gateway_has_the_limits_that_its_options_say(models: Path) -> None:
    with (
        gateway(models, "--alpha", 0.05, "--device", device(), "--max-explain-rows", 100) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            running.stub(channel).Explain(SLOW)
        code, details = refused(caught.value)
        assert code == "INVALID_ARGUMENT"
        assert "would run 3848 rows of the model (962 for each of 4 maps), and this gateway runs at most 100" in details


@pytest.mark.slow
def test_models_without_class_activation_maps_are_explained_by_hiding(tmp_path: Path) -> None:
    rows = ExportRequest("rows", "classify", TRANSFER, real_items=transfers(8), labels=["good", "bad"])
    export_model(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)), rows, tmp_path)
    image = ImageInput(height=32, width=32, channels=1)
    blind = ExportRequest("blind", "classify", image, labels=list("0123456789"), leave_out=["activations"])
    export_model(LeNet(), blind, tmp_path)
    row = pb.Item()
    row.row.update({"amount": 120.5, "hour": 3, "country": "FR"})
    with gateway(tmp_path, "--device", device()) as running, grpc.insecure_channel(running.address) as channel:
        stub = running.stub(channel)
        for model, item, why in (("rows", row, "takes rows of a table"), ("blind", IMAGE, "activations")):
            (found,) = stub.Explain(pb.ExplainRequest(model=model, items=[item])).items
            assert found.method == OCCLUSION
            assert np.isfinite(array(found.map)).all()
            with pytest.raises(grpc.RpcError) as caught:
                stub.Explain(pb.ExplainRequest(model=model, items=[item], method=pb.EXPLANATION_METHOD_CAM))
            code, details = refused(caught.value)
            assert code == "FAILED_PRECONDITION"
            assert why in details

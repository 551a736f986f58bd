"""The gateway as a client meets it: a process of its own, real sockets, the typed stub; over both engines."""

from __future__ import annotations

import contextlib
import io
import math
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import soundfile
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from integration.gateway import AVIZOR, Gateway, gateway
from PIL import Image
from support.sounds import SAMPLE_RATE, tone
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc
from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.items.inputs import ImageInput
from avizor_inference.repository.models import ModelRepository

Stub = inference_pb2_grpc.InferenceServiceStub


@pytest.fixture(scope="module", params=["embedded", "triton"])
def served(request: pytest.FixtureRequest, models: Path) -> Iterator[Gateway]:
    engine = "ort" if request.param == "embedded" else f"triton://{request.getfixturevalue('triton_address')}"
    with gateway(models, "--engine", engine, "--alpha", 0.05, "--sources", "c", "--max-windows", 20) as running:
        yield running


@pytest.fixture
def stub(served: Gateway) -> Iterator[Stub]:
    with grpc.insecure_channel(served.address) as channel:
        yield served.stub(channel)


def wav(samples: np.ndarray, rate: int = SAMPLE_RATE, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind)
    return buffer.getvalue()


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def normal(seed: int = 500) -> bytes:
    return wav(tone(3 * 4096 / SAMPLE_RATE, seed=seed))


def odd() -> bytes:
    return wav(np.clip(0.3 * np.random.default_rng(0).standard_normal(3 * 4096), -1, 1))


def refused(call: grpc.RpcError) -> tuple[str, str]:
    return call.code().name, call.details()


def test_list_and_get(stub: Stub, models: Path) -> None:
    listed = stub.ListModels(pb.ListModelsRequest()).models
    assert [model.name for model in listed] == ["digits", "kinds", "normal", "transfers"]
    digits, kinds, autoencoder, table = listed
    assert (digits.image.height, digits.image.width, digits.image.channels) == (32, 32, 1)
    assert (kinds.audio.sample_rate, kinds.audio.window_samples) == (8000, 4096)
    assert list(kinds.labels) == ["low", "mid", "high"]
    assert dict(autoencoder.calibration.recordings) == {"a": 30, "b": 30}
    columns = [(column.name, list(column.categories)) for column in table.table.columns]
    assert columns == [("amount", []), ("hour", []), ("country", ["ES", "FR", "IT"])]
    meanings = {output.name: output.meaning for output in table.outputs}
    for name in ("error_map", "reconstruction"):
        assert meanings[name].endswith("; in order: amount, hour, country=ES, country=FR, country=IT")
    one = stub.GetModel(pb.GetModelRequest(name="digits"))
    assert one == digits
    assert one.sha256 == ModelRepository(models).version("digits").manifest.model_sha256
    assert (one.task, one.version, list(one.versions), one.max_batch_size) == (pb.TASK_CLASSIFY, 1, [1], 16)


def test_classify_images_as_the_engine_does(stub: Stub, models: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 32, 32)).astype(np.uint8)
    with EmbeddedEngine(models) as engine:
        rows = [engine.infer("digits", {"image": p[None, ..., None]}, ["probabilities"])["probabilities"][0] for p in pixels]
    items = [pb.Item(image=png(each)) for each in pixels]  # more than one batch of the model
    answer = stub.Classify(pb.ClassifyRequest(model="digits", items=items, top_k=10))
    assert answer.version == 1
    for item, row in zip(answer.items, rows, strict=True):
        assert [each.label for each in item.classes] == [str(index) for index in np.argsort(-row, kind="stable")]
        np.testing.assert_allclose([each.probability for each in item.classes], np.sort(row)[::-1], atol=1e-5)


def test_images_of_any_kind_and_size_are_brought_to_the_models(stub: Stub) -> None:
    grey = np.full((32, 32), 77, np.uint8)
    variants = [
        png(grey),
        png(np.full((100, 60), 77, np.uint8)),
        png(np.full((64, 64, 3), 77, np.uint8)),
        png(np.full((32, 32, 4), (77, 77, 77, 255), np.uint8)),
        png(grey, "BMP"),
        png(grey, "TIFF"),
    ]
    answer = stub.Classify(pb.ClassifyRequest(model="digits", items=[pb.Item(image=each) for each in variants]))
    found = [(item.classes[0].label, round(item.classes[0].probability, 4)) for item in answer.items]
    assert len(set(found)) == 1


def test_classify_sound_by_window_and_whole(stub: Stub) -> None:
    samples = tone(1.3)
    request = pb.ClassifyRequest(model="kinds", items=[pb.Item(audio=wav(samples)), pb.Item(audio=wav(samples, kind="FLAC"))])
    first, second = stub.Classify(request).items
    assert first.classes[0].label == second.classes[0].label
    assert first.classes[0].probability == pytest.approx(second.classes[0].probability, abs=1e-4)
    spans = [(window.span.start_s, window.span.end_s) for window in first.windows]
    assert spans == [(0.0, 0.512), (0.512, 1.024), (pytest.approx(1.3 - 0.512), 1.3)]
    assert len(first.classes) == 1


def test_raw_tensors(stub: Stub) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (32, 32, 1)).astype(np.uint8)
    tensor = pb.Tensor(dtype="uint8", shape=[32, 32, 1], data=pixels.tobytes())
    items = [pb.Item(tensor=tensor), pb.Item(image=png(pixels[..., 0]))]
    raw, encoded = stub.Classify(pb.ClassifyRequest(model="digits", items=items)).items
    assert raw == encoded


def row(**values: float | str | None) -> pb.Item:
    item = pb.Item(source="a")
    item.row.SetInParent()  # a row even if it is without any value
    item.row.update(values)
    return item


def test_rows_of_a_table_by_name(stub: Stub, models: Path) -> None:
    items = [row(country="FR", amount=120.5, hour=3), row(amount=None, country="XX"), row(hour=True)]
    answer = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="transfers", items=items))
    records = np.array([[120.5, 3, 1], [np.nan] * 3, [np.nan, 1, np.nan]], np.float32)
    with EmbeddedEngine(models) as engine:
        scores = engine.infer("transfers", {"record": records}, ["score"])["score"][:, 0]
    assert [item.score for item in answer.items] == pytest.approx(scores.tolist(), rel=1e-4)
    # The raw tensor is the same row, NaN for what is missing.
    raw = pb.Item(source="a", tensor=pb.Tensor(dtype="float32", shape=[3], data=records[1].tobytes()))
    (verdict,) = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="transfers", items=[raw])).items
    assert verdict.score == pytest.approx(answer.items[1].score, rel=1e-4)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (row(iban="x"), "no column 'iban'; it takes amount, hour, country"),
        (row(amount="much"), "column 'amount' holds 'much'"),
        (row(hour=1e39), "column 'hour' holds 1e+39, which float32 cannot hold"),
        (row(), "the row holds no value; give amount, hour or country"),
        (row(amount=None), "the row holds no value"),
        (pb.Item(image=b""), "the model takes row"),
    ],
)
def test_rows_that_do_not_fit_cost_the_others_nothing(stub: Stub, item: pb.Item, says: str) -> None:
    bad, good = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="transfers", items=[item, row(hour=1)])).items
    assert says in bad.error.message
    assert good.score > 0


def test_a_number_whose_square_no_float32_holds_is_an_anomaly(stub: Stub) -> None:
    (verdict,) = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="transfers", items=[row(hour=1e25)])).items
    assert (verdict.score, verdict.is_anomaly) == (math.inf, True)


def test_verdicts_and_what_the_metrics_count(served: Gateway, stub: Stub) -> None:
    before = served.metrics()
    items = [pb.Item(source="a", audio=normal()), pb.Item(source="a", audio=odd()), pb.Item(source="who?", audio=odd())]
    answer = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=items))
    assert answer.alpha == pytest.approx(0.05)
    calm, first, second = answer.items
    assert not calm.is_anomaly
    assert first.is_anomaly
    assert calm.judged_by == "a"
    # more unusual than all 30 of its own: the 60 of all sources go on
    assert (first.judged_by, second.judged_by) == ("*", "*")
    assert (first.p_value, second.p_value) == (pytest.approx(1 / 61), pytest.approx(1 / 61))
    scores = [window.score for window in first.windows]
    assert np.mean(scores) < first.score < max(scores)
    after = served.metrics()

    def counted(name: str, source: str) -> float:
        series = f'{name}{{model="normal",source="{source}"}}'
        return after[series] - before[series]

    assert (counted("avizor_items_scored_total", "a"), counted("avizor_anomalies_total", "a")) == (2, 1)
    assert (counted("avizor_items_scored_total", "other"), counted("avizor_anomalies_total", "other")) == (1, 1)
    assert after['avizor_alert_alpha{model="normal"}'] == 0.05
    assert after['avizor_items_scored_total{model="normal",source="c"}'] == 0
    assert not any("who?" in series for series in after)
    created = after['avizor_calibration_created_timestamp_seconds{model="normal"}']
    assert time.time() - 3600 < created < time.time()
    assert after[f'avizor_calibration_info{{calibration_id="{answer.calibration_id}",model="normal"}}'] == 1
    ok = 'avizor_requests_total{code="OK",model="normal",rpc="DetectAnomaly"}'
    assert after[ok] == before.get(ok, 0) + 1
    assert [value for series, value in after.items() if series.startswith("avizor_engine_up")] == [1]
    assert after["avizor_in_flight_requests"] == 0


def test_a_recording_shorter_than_a_window_is_not_judged_and_says_so(served: Gateway, stub: Stub) -> None:
    before = served.metrics()
    short, whole = pb.Item(source="a", audio=wav(tone(0.1))), pb.Item(source="a", audio=normal())
    first, second = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=[short, whole])).items
    assert first.error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert "shorter than the model's window" in first.error.message
    assert "has 0 such recordings; alpha 0.05 needs 19" in first.error.message
    assert second.p_value > 0.05
    after = served.metrics()
    for name in ("scored", "not_judged"):
        series = f'avizor_items_{name}_total{{model="normal",source="a"}}'
        assert after[series] == before[series] + 1


def test_all_channels_of_a_recording_are_one_item(stub: Stub) -> None:
    two = np.stack([tone(3 * 4096 / SAMPLE_RATE, seed=100)] * 2, axis=1)
    one, both = stub.DetectAnomaly(
        pb.DetectAnomalyRequest(model="normal", items=[pb.Item(source="a", audio=wav(each)) for each in (two[:, 0], two)])
    ).items
    assert len(both.windows) == 2 * len(one.windows)
    assert both.score == pytest.approx(one.score)
    assert both.p_value == one.p_value


def test_the_callers_alpha_decides_the_answer_and_not_the_count(served: Gateway, stub: Stub) -> None:
    before = served.metrics()['avizor_anomalies_total{model="normal",source="a"}']
    request = pb.DetectAnomalyRequest(model="normal", alpha=0.02, items=[pb.Item(source="a", audio=odd())])
    (verdict,) = stub.DetectAnomaly(request).items
    assert verdict.is_anomaly  # 30 recordings of its own do not support 0.02; all 60 do
    assert verdict.judged_by == "*"
    assert served.metrics()['avizor_anomalies_total{model="normal",source="a"}'] == before + 1


def test_one_bad_item_does_not_cost_the_others_their_answer(stub: Stub) -> None:
    bad = [
        (pb.Item(audio=b"no sound"), "not an audio file"),
        (pb.Item(image=png(np.zeros((4, 4), np.uint8))), "the item holds image; the model takes audio"),
        (pb.Item(source="a"), "the item holds nothing"),
        (
            pb.Item(tensor=pb.Tensor(dtype="float32", shape=[3], data=b"")),
            r"the tensor is float32[3]; one item is float32[4096]",
        ),
        (pb.Item(tensor=pb.Tensor(dtype="float32", shape=[4096], data=b"123")), "the tensor holds 3 bytes"),
        (pb.Item(audio=wav(tone(30.0))), "more than 20 windows"),
        (pb.Item(audio=wav(np.full(1, 0.1), rate=48000)), "holds 1 samples at 48000 Hz, less than one at the model's 8000 Hz"),
        (pb.Item(audio=wav(np.zeros(4000), rate=1)), "the header says 1 Hz"),
        (pb.Item(audio=normal()[:-1000]), "the file was cut off"),
    ]
    items = [pb.Item(audio=normal()), *(item for item, _ in bad), pb.Item(audio=normal())]
    answer = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=items))
    first, *middle, last = answer.items
    assert first == last
    assert first.p_value > 0
    for number, (verdict, (_, message)) in enumerate(zip(middle, bad, strict=True), start=1):
        assert message in verdict.error.message
        assert verdict.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        violation = BadRequest()
        assert verdict.error.details[0].Unpack(violation)
        assert violation.field_violations[0].field.startswith(f"items[{number}]")
    only_bad = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=[bad[0][0]]))
    assert [bool(verdict.error.message) for verdict in only_bad.items] == [True]


def test_images_that_are_not_of_the_contract_are_refused(stub: Stub) -> None:
    red, pages = Image.new("RGB", (16, 16), (255, 0, 0)), io.BytesIO()
    red.save(pages, "TIFF", save_all=True, append_images=[red])
    items = [pb.Item(image=png(np.asarray(red), kind)) for kind in ("EPS", "ICO", "PPM")] + [pb.Item(image=pages.getvalue())]
    errors = [item.error for item in stub.Classify(pb.ClassifyRequest(model="digits", items=items)).items]
    assert {error.code for error in errors} == {grpc.StatusCode.INVALID_ARGUMENT.value[0]}
    assert [error.message.partition(" (")[0] for error in errors] == [
        *["not an image that can be read"] * 3,
        "the image file holds 2 pictures",
    ]


def test_recordings_beyond_full_scale_are_counted(served: Gateway, stub: Stub) -> None:
    series, buffer = 'avizor_items_clipped_total{model="normal"}', io.BytesIO()
    soundfile.write(buffer, tone(1.0) * 8, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    before = served.metrics().get(series, 0)
    items = [pb.Item(audio=normal()), pb.Item(audio=buffer.getvalue())]
    assert all(item.p_value > 0 for item in stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=items)).items)
    assert served.metrics()[series] == before + 1


IMAGE = pb.Item(image=png(np.zeros((32, 32), np.uint8)))


@pytest.mark.parametrize(
    ("rpc", "request_", "code", "message", "field"),
    [
        ("Classify", pb.ClassifyRequest(model="nothing", items=[IMAGE]), "NOT_FOUND", "no model 'nothing'", ""),
        ("Classify", pb.ClassifyRequest(model="digits", version=9, items=[IMAGE]), "NOT_FOUND", "no version 9", ""),
        ("Classify", pb.ClassifyRequest(model="digits", version=-1, items=[IMAGE]), "INVALID_ARGUMENT", "below 0", "version"),
        ("Classify", pb.ClassifyRequest(items=[IMAGE]), "INVALID_ARGUMENT", "name a model", "model"),
        ("Classify", pb.ClassifyRequest(model="digits"), "INVALID_ARGUMENT", "holds no items", "items"),
        ("Classify", pb.ClassifyRequest(model="digits", items=[IMAGE] * 257), "INVALID_ARGUMENT", "257 items", "items"),
        ("Classify", pb.ClassifyRequest(model="digits", items=[IMAGE], top_k=-1), "INVALID_ARGUMENT", "top_k -1", "top_k"),
        ("Classify", pb.ClassifyRequest(model="normal", items=[IMAGE]), "INVALID_ARGUMENT", "call DetectAnomaly", "model"),
        ("DetectAnomaly", pb.DetectAnomalyRequest(model="digits", items=[IMAGE]), "INVALID_ARGUMENT", "call Classify", "model"),
        (
            "DetectAnomaly",
            pb.DetectAnomalyRequest(model="normal", items=[IMAGE], alpha=2),
            "INVALID_ARGUMENT",
            "alpha 2",
            "alpha",
        ),
        (
            "DetectAnomaly",
            pb.DetectAnomalyRequest(model="normal", items=[IMAGE], alpha=0.001),
            "FAILED_PRECONDITION",
            "999",
            "",
        ),
        ("GetModel", pb.GetModelRequest(name="nothing"), "NOT_FOUND", "no model 'nothing'", ""),
    ],
)
def test_errors_of_a_whole_call(
    served: Gateway, stub: Stub, rpc: str, request_: object, code: str, message: str, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, rpc)(request_)
    assert refused(caught.value)[0] == code
    assert message in refused(caught.value)[1]
    details = dict(caught.value.trailing_metadata())
    status = Status.FromString(details["grpc-status-details-bin"])
    if field:
        violation = BadRequest()
        assert status.details[0].Unpack(violation)
        assert violation.field_violations[0].field == field


def test_deadline(stub: Stub) -> None:
    items = [pb.Item(audio=wav(tone(10.0)))] * 50
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(pb.ClassifyRequest(model="kinds", items=items), timeout=0.05)
    assert refused(caught.value)[0] == "DEADLINE_EXCEEDED"


def test_health_and_reflection_as_a_generic_client_uses_them(served: Gateway) -> None:
    with grpc.insecure_channel(served.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "avizor.v1.InferenceService"):
            deadline = time.monotonic() + 10
            while True:  # the first look at the engine may still be under way
                try:
                    status = health.Check(health_pb2.HealthCheckRequest(service=service)).status
                    break
                except grpc.RpcError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            assert status == health_pb2.HealthCheckResponse.SERVING
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "avizor.v1.InferenceService" in database.get_services()
        file = database.FindFileContainingSymbol("avizor.v1.InferenceService")
        methods = [method.name for service in file.service for method in service.method]
        assert methods == ["ListModels", "GetModel", "Classify", "DetectAnomaly"]
    assert subprocess.run([AVIZOR, "health", "--target", served.address], check=False, capture_output=True).returncode == 0


def test_many_clients_at_once_get_their_own_answers(served: Gateway) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (6, 32, 32)).astype(np.uint8)
    requests = [pb.ClassifyRequest(model="digits", items=[pb.Item(image=png(each))], top_k=10) for each in pixels]
    with grpc.insecure_channel(served.address) as channel:
        stub = served.stub(channel)
        expected = [stub.Classify(request).items[0].classes for request in requests]
        wrong: list[int] = []

        def ask(index: int) -> None:
            for _ in range(15):
                classes = stub.Classify(requests[index]).items[0].classes
                for got, wanted in zip(classes, expected[index], strict=True):
                    if got.label != wanted.label or abs(got.probability - wanted.probability) > 1e-5:
                        wrong.append(index)

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_sigterm_lets_a_running_call_finish(models: Path) -> None:
    with gateway(models, "--alpha", 0.05) as running, grpc.insecure_channel(running.address) as channel:
        stub = running.stub(channel)
        stub.ListModels(pb.ListModelsRequest())
        items = [pb.Item(audio=wav(tone(10.0)))] * 100
        under_way = stub.Classify.future(pb.ClassifyRequest(model="kinds", items=items))
        deadline = time.monotonic() + 10
        while running.metrics()["avizor_in_flight_requests"] < 1 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert running.stop() == 0
        assert len(under_way.result().items) == 100
        with pytest.raises(grpc.RpcError):
            stub.ListModels(pb.ListModelsRequest(), timeout=2)


def test_a_full_gateway_turns_calls_away_and_says_when_to_come_back(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--max-in-flight", 1) as running, grpc.insecure_channel(running.address) as channel:
        stub = running.stub(channel)
        items = [pb.Item(audio=wav(tone(10.0)))] * 60
        calls = [stub.Classify.future(pb.ClassifyRequest(model="kinds", items=items)) for _ in range(4)]
        codes = sorted(call.code().name for call in calls)
        assert codes == ["OK", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]
        turned_away = next(call for call in calls if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED)
        status = Status.FromString(dict(turned_away.trailing_metadata())["grpc-status-details-bin"])
        assert status.details[0].type_url.endswith("google.rpc.RetryInfo")
        assert running.metrics()['avizor_rejected_total{reason="full"}'] == 3


def test_tokens(models: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text('# who may call\n"Bearer sesame" "ali";\n"Bearer other-one" "baba";\n')
    with gateway(models, "--alpha", 0.05, "--tokens", tokens) as running, grpc.insecure_channel(running.address) as channel:
        stub = running.stub(channel)
        for metadata in (None, [("authorization", "Bearer wrong")], [("authorization", "sesame")]):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ListModels(pb.ListModelsRequest(), metadata=metadata)
            assert refused(caught.value)[0] == "UNAUTHENTICATED"
        for token in ("sesame", "other-one"):
            assert stub.ListModels(pb.ListModelsRequest(), metadata=[("authorization", f"Bearer {token}")]).models
        assert running.metrics()['avizor_rejected_total{reason="unauthenticated"}'] == 3
        health = subprocess.run([AVIZOR, "health", "--target", running.address], check=False, capture_output=True)
        assert health.returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alpha", "0.001"], "needs at least 999 normal recordings"),
        (["--engine", "http://x"], "use 'ort', or 'triton://HOST:8001'"),
        (["--models", "/nowhere"], "is not a folder"),
        (["--tokens", "/nowhere"], "cannot be read"),
        (["--alpha", "3"], "--alpha"),
    ],
)
def test_a_gateway_that_cannot_work_does_not_start(models: Path, options: list[str], message: str) -> None:
    command = [str(AVIZOR), "serve", "--models", str(models), "--port", "0", "--metrics-port", "0", "--alpha", "0.05", *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "--port",
            "cannot listen on 127.0.0.1:{port}: address already in use; stop the other process or choose another --port",
        ),
        (
            "--metrics-port",
            "cannot serve metrics on 127.0.0.1:{port}: address already in use; stop the other process or choose",
        ),
    ],
)
def test_a_taken_port_is_said_to_be_taken(models: Path, option: str, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"--port": "0", "--metrics-port": "0", option: str(port)}
        options = [part for pair in ports.items() for part in pair]
        command = [str(AVIZOR), "serve", "--models", str(models), "--alpha", "0.05", *options]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert message.format(port=port) in result.stderr
    assert "Traceback" not in result.stderr


def test_while_triton_is_away_calls_are_unavailable_and_then_served_again(models: Path, triton_install: TritonInstall) -> None:
    with contextlib.ExitStack() as stack:
        triton = stack.enter_context(TritonServer(triton_install, models))
        running = stack.enter_context(gateway(models, "--alpha", 0.05, "--engine", f"triton://{triton.grpc_url}"))
        channel = stack.enter_context(grpc.insecure_channel(running.address))
        stub, request = running.stub(channel), pb.ClassifyRequest(model="digits", items=[IMAGE])
        assert stub.Classify(request).items
        triton.kill()
        with pytest.raises(grpc.RpcError) as caught:
            stub.Classify(request)
        assert refused(caught.value)[0] == "UNAVAILABLE"
        assert eventually(lambda: running.metrics()['avizor_engine_up{engine="triton"}'] == 0)
        assert _health(running) == 1
        triton.start()
        assert eventually(lambda: running.metrics()['avizor_engine_up{engine="triton"}'] == 1)
        assert eventually(lambda: _answers(stub, request))
        assert _health(running) == 0


def test_a_gateway_says_so_when_triton_serves_something_else(models: Path, triton_address: str, tmp_path: Path) -> None:
    other = tmp_path / "models"
    image = ImageInput(height=32, width=32, channels=1)
    export_model(LeNet(), ExportRequest("digits", "classify", image, labels=list("0123456789")), other)
    with gateway(other, "--engine", f"triton://{triton_address}") as running, grpc.insecure_channel(running.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            running.stub(channel).Classify(pb.ClassifyRequest(model="digits", items=[IMAGE]))
        assert refused(caught.value)[0] == "FAILED_PRECONDITION"
        assert "serves another 'digits'" in refused(caught.value)[1]


def _health(running: Gateway) -> int:
    return subprocess.run([AVIZOR, "health", "--target", running.address], check=False, capture_output=True).returncode


def _answers(stub: Stub, request: pb.ClassifyRequest) -> bool:
    try:
        return bool(stub.Classify(request).items)
    except grpc.RpcError:
        return False


def eventually(condition: Callable[[], bool], within_s: float = 20.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True

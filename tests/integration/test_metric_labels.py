"""Nothing that a client writes becomes a label of a metric, whatever it calls and however it names things."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.gateway import IMAGE, Gateway, Stub, gateway, normal
from integration.http_client import ask
from tritonclient.grpc import service_pb2, service_pb2_grpc

from avizor.v1 import inference_pb2 as pb

MARK = "zq7"
HOSTILE = [MARK, f"{MARK}\n", f'{MARK}"}} 1\navizor_fake{{a="', f"{MARK}\\", f"../{MARK}", f"{MARK}\N{BOMB}", MARK * 50]
MODELS = {"digits", "kinds", "normal", "transfers"}

# What each label may be. One that is not named here was never thought about.
RPCS = {
    *("ListModels", "GetModel", "Classify", "DetectAnomaly", "Embed", "Reconstruct", "Explain", "Monitor"),
    *(method.name for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods),
}
CODES = {code.name for code in grpc.StatusCode}
A_WORD, A_NUMBER, AN_ID = r"[a-z_0-9-]+", r"[0-9.e+-]+|\+Inf", r"[0-9A-Za-z._-]+"
LABELS = {
    "rpc": "|".join(RPCS),
    "model": "|".join(MODELS) + "|",
    "code": "|".join(CODES),
    "source": "a|b|other",
    "reason": A_WORD,
    "engine": "ort",
    "part": A_WORD,
    "le": A_NUMBER,
    "calibration_id": AN_ID,
    "version": AN_ID,
    "implementation": AN_ID,
    "major": A_NUMBER,
    "minor": A_NUMBER,
    "patchlevel": A_NUMBER,
}


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[Gateway]:
    with gateway(models, "--alpha", 0.05) as running:
        yield running


def test_no_label_of_a_metric_holds_what_a_client_wrote(served: Gateway) -> None:
    with grpc.insecure_channel(served.address) as channel:
        for text in HOSTILE:
            for each in hostile_calls(channel, served.stub(channel), text):
                with pytest.raises(grpc.RpcError):
                    each()
            answered(served.stub(channel), text)
            assert {ask_nonsense(served.http_url, *each) for each in hostile_requests(text)} <= {
                400,
                401,
                403,
                404,
                405,
                411,
                415,
            }
    series = served.metrics()
    assert not [name for name in series if MARK in name]
    labels = {pair for name in series for pair in re.findall(r'[{,](\w+)="((?:[^"\\]|\\.)*)"', name)}
    assert {name for name, _ in labels} <= LABELS.keys()
    assert [(name, value) for name, value in labels if not re.fullmatch(LABELS[name], value)] == []
    assert series['avizor_requests_total{code="NOT_FOUND",model="",rpc="Classify"}'] > 0  # they were counted all the same
    assert series['avizor_items_scored_total{model="normal",source="other"}'] == len(HOSTILE)
    assert series['avizor_rejected_total{reason="unknown"}'] > len(HOSTILE)  # of HTTP


def hostile_requests(text: str) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """Yield method, path, headers and body of requests of HTTP that fail, in which all that may be text is this one."""
    name, plain = quote(text, safe=""), re.sub("[^0-9A-Za-z]", "", text)
    headers = {"X-Request-Id": plain, "Traceparent": plain, "User-Agent": plain}
    tensor = {"name": text, "shape": [1], "datatype": text, "data": [text]}
    bodies = [b"", text.encode(), json.dumps({"id": text, "inputs": [tensor], "parameters": {text: text}}).encode()]
    of_models = (
        "",
        "/config",
        "/stats",
        "/ready",
        "/infer",
        f"/versions/{name}",
        f"/versions/{name}/infer",
        "/versions/1/infer",
    )
    for body in bodies:
        for path in (f"/{name}", f"/v1/{name}", f"/v1/models/{name}", f"/v1/models/{name}:classify", f"/v2/{name}"):
            yield "POST", path, headers, body
        for path in of_models:
            yield "POST", f"/v2/models/{name}{path}?{name}={name}", headers, body
        yield "POST", "/v2/models/digits/infer", headers, body
        yield "POST", f"/v2/models/digits/versions/{name}/infer", headers, body
        yield "POST", f"/avizor.v1.InferenceService/{name}", headers | {"Content-Type": "application/json"}, body
        yield "POST", "/avizor.v1.InferenceService/Classify", headers | {"Content-Type": plain}, body
    yield plain.upper(), "/v1/models", headers, b""
    yield "GET", "/v1/models", headers | {"Host": plain}, b""
    yield "GET", "/v1/models", headers | {"Origin": f"https://{plain}"}, b""


def ask_nonsense(url: str, method: str, path: str, headers: dict[str, str], body: bytes) -> int:
    return ask(url, path, body or None, method, **headers).code


def all_of(stub: Stub, request: pb.MonitorRequest) -> list[pb.MonitorResponse]:
    return list(stub.Monitor(iter([request])))


def answered(stub: Stub, text: str) -> None:
    """Make calls that are in order but for the names of sources and the like."""
    sound = pb.Item(audio=normal(), source=text)
    stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=[sound]))
    start = pb.MonitorStart(sample_rate=8000, detector="normal", source=text)
    pcm = np.zeros(4096, "<i2").tobytes()
    list(stub.Monitor(iter([pb.MonitorRequest(start=start), pb.MonitorRequest(pcm=pcm)])))


def hostile_calls(channel: grpc.Channel, stub: Stub, text: str) -> Iterator[Callable[[], object]]:
    """Yield calls that fail, in which all that may be text is this one."""
    items = [IMAGE]
    metadata = [(f"x-{MARK}", MARK), ("x-request-id", MARK), ("traceparent", MARK)]
    yield lambda: stub.GetModel(pb.GetModelRequest(name=text), metadata=metadata)
    yield lambda: stub.Classify(pb.ClassifyRequest(model=text, items=items), metadata=metadata)
    yield lambda: stub.DetectAnomaly(pb.DetectAnomalyRequest(model=text, items=items), metadata=metadata)
    yield lambda: stub.Embed(pb.EmbedRequest(model=text, items=items), metadata=metadata)
    yield lambda: stub.Reconstruct(pb.ReconstructRequest(model=text, items=items), metadata=metadata)
    yield lambda: stub.Explain(pb.ExplainRequest(model=text, items=items), metadata=metadata)
    for start in (pb.MonitorStart(detector=text, source=text), pb.MonitorStart(classifier=text, source=text)):
        yield partial(all_of, stub, pb.MonitorRequest(start=start))
    for path in (f"/avizor.v1.InferenceService/{MARK}", f"/{MARK}.v1/{MARK}", f"/inference.GRPCInferenceService/{MARK}"):
        yield partial(channel.unary_unary(path), b"", metadata=metadata)
    check = health_pb2_grpc.HealthStub(channel).Check
    yield lambda: check(health_pb2.HealthCheckRequest(service=text), metadata=metadata)
    triton = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    yield lambda: triton.ModelMetadata(service_pb2.ModelMetadataRequest(name=text, version=text))
    yield lambda: triton.ModelConfig(service_pb2.ModelConfigRequest(name=text, version=text))
    yield lambda: triton.ModelStatistics(service_pb2.ModelStatisticsRequest(name=text, version=text))
    yield lambda: triton.RepositoryIndex(service_pb2.RepositoryIndexRequest(repository_name=text))
    yield lambda: triton.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name=text))
    yield lambda: triton.ModelInfer(service_pb2.ModelInferRequest(model_name=text, model_version=text, id=text))

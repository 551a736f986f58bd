"""A gateway process sends OpenTelemetry spans of its calls to a collector, and tells Triton of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from integration.gateway import Gateway, gateway, normal
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from support.collector import Collector, collecting, collecting_json
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor.v1 import inference_pb2 as pb

REQUEST = pb.DetectAnomalyRequest(model="normal", items=[pb.Item(audio=normal(), source="a")])


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector, and gateways that send it their spans every tenth of a second, not every 5 s."""
    with collecting() as running, pytest.MonkeyPatch.context() as changed:
        changed.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield running


@pytest.fixture(scope="module")
def traced(models: Path, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Path]]:
    log = tmp_path_factory.mktemp("traced") / "log"
    with gateway(models, "--alpha", 0.05, "--otlp-endpoint", collector.url, log=log) as running:
        yield running, log


def by_name(spans: list[Span]) -> dict[str, Span]:
    return {span.name: span for span in spans}


def attributes(span: Span) -> dict[str, object]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_call_is_a_span_below_its_clients_and_its_parts_are_below_it(
    traced: tuple[Gateway, Path], collector: Collector
) -> None:
    running, _ = traced
    trace_id, parent, request_id = uuid.uuid4().hex, "b" * 16, uuid.uuid4().hex
    with grpc.insecure_channel(running.address) as channel:
        metadata = [("traceparent", f"00-{trace_id}-{parent}-01"), ("x-request-id", request_id)]
        running.stub(channel).DetectAnomaly(REQUEST, metadata=metadata)
    spans = by_name(collector.spans_of(trace_id, lambda found: len(found) >= 3))
    assert spans.keys() == {"avizor DetectAnomaly", "decode", "engine"}
    call = spans["avizor DetectAnomaly"]
    assert call.parent_span_id.hex() == parent
    assert call.kind == Span.SPAN_KIND_SERVER
    for part in (spans["decode"], spans["engine"]):
        assert part.parent_span_id == call.span_id
        assert call.start_time_unix_nano <= part.start_time_unix_nano <= part.end_time_unix_nano <= call.end_time_unix_nano
    assert attributes(call) == {
        "rpc.method": "DetectAnomaly",
        "avizor.request_id": request_id,
        "avizor.model": "normal",
        "rpc.grpc.status_code": 0,
    }
    assert collector.services() == {"avizor"}


def test_a_call_without_a_trace_begins_one_that_its_line_in_the_log_names(
    traced: tuple[Gateway, Path], collector: Collector
) -> None:
    running, log = traced
    request_id = uuid.uuid4().hex
    request = pb.ClassifyRequest(model="nothing", items=[pb.Item(audio=b"x")])
    with grpc.insecure_channel(running.address) as channel, pytest.raises(grpc.RpcError):
        running.stub(channel).Classify(request, metadata=[("x-request-id", request_id)])
    (line,) = lines_of(running, log, request_id)
    (call,) = collector.spans_of(line["trace_id"], bool)
    assert not call.parent_span_id
    assert call.status.code == Status.STATUS_CODE_ERROR
    assert call.status.message.startswith("NOT_FOUND: no model named")


def test_the_batches_of_an_explanation_belong_to_its_call(traced: tuple[Gateway, Path], collector: Collector) -> None:
    running, _ = traced
    trace_id = uuid.uuid4().hex
    row = pb.Item(tensor=pb.Tensor(shape=[32, 32, 1], dtype="uint8", data=bytes(1024)))
    with grpc.insecure_channel(running.address) as channel:
        running.stub(channel).Explain(
            pb.ExplainRequest(model="digits", items=[row]), metadata=[("traceparent", f"00-{trace_id}-{'b' * 16}-01")]
        )
    spans = collector.spans_of(trace_id, lambda found: {"avizor Explain", "engine"} <= by_name(found).keys())
    call = by_name(spans)["avizor Explain"]
    assert {span.parent_span_id for span in spans if span.name == "engine"} == {call.span_id}


def test_the_last_spans_are_sent_at_sigterm(models: Path, collector: Collector) -> None:
    trace_id = uuid.uuid4().hex
    with (
        gateway(models, "--alpha", 0.05, "--otlp-endpoint", collector.url) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        metadata = [("traceparent", f"00-{trace_id}-{'b' * 16}-01")]
        running.stub(channel).ListModels(pb.ListModelsRequest(), metadata=metadata)
        assert running.stop() == 0
    assert collector.spans_of(trace_id, bool)[0].name == "avizor ListModels"


def test_a_collector_that_is_away_costs_no_call_and_no_stop(models: Path) -> None:
    with (
        gateway(models, "--alpha", 0.05, "--otlp-endpoint", "http://127.0.0.1:9") as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        running.stub(channel).ListModels(pb.ListModelsRequest())
        assert running.stop() == 0


def test_what_opentelemetry_cannot_use_of_its_variables_is_told_in_one_line(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1")
    for variable, value, told in (
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", tmp_path / "none.pem", f"Failed to read file: {tmp_path}/none.pem"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", tmp_path, f"{tmp_path} cannot be read (is a directory)"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "could not convert string to float: 'soon'; correct it, or unset it"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon", "OTEL_BSP_SCHEDULE_DELAY"),
    ):
        with monkeypatch.context() as changed:
            changed.setenv(variable, str(value))
            with gateway(models, "--alpha", 0.05, log=log) as running, grpc.insecure_channel(running.address) as channel:
                running.stub(channel).DetectAnomaly(REQUEST)
        assert told in log.read_text()
        assert "Traceback" not in log.read_text()


def test_tritons_spans_are_below_those_of_the_gateway(
    models: Path, triton_install: TritonInstall, collector: Collector
) -> None:
    trace_id, request_id = uuid.uuid4().hex, uuid.uuid4().hex
    with collecting_json() as of_triton, TritonServer(triton_install, models, extra_args=tracing_to(of_triton.url)) as triton:
        options = ("--engine", f"triton://{triton.grpc_url}", "--otlp-endpoint", collector.url)
        with gateway(models, "--alpha", 0.05, *options) as running, grpc.insecure_channel(running.address) as channel:
            metadata = [("traceparent", f"00-{trace_id}-{'b' * 16}-01"), ("x-request-id", request_id)]
            request = pb.ClassifyRequest(model="kinds", items=[pb.Item(audio=normal())])
            for calls in range(1, 31):  # Triton loses spans now and then
                running.stub(channel).Classify(request, metadata=metadata)
                engines = engines_of(collector, trace_id, calls)
                spans = of_triton.spans_of(trace_id, lambda found: parents(found) & engines and request_id in str(found))  # noqa: B023
                if parents(spans) & engines and request_id in str(spans):
                    break
            assert running.stop() == 0
    assert parents(spans) & engines
    assert request_id in str(spans)


def test_a_gateway_that_traces_nothing_passes_the_clients_trace_to_triton(models: Path, triton_install: TritonInstall) -> None:
    trace_id = uuid.uuid4().hex
    with collecting_json() as of_triton, TritonServer(triton_install, models, extra_args=tracing_to(of_triton.url)) as triton:
        engine = ("--engine", f"triton://{triton.grpc_url}")
        with gateway(models, "--alpha", 0.05, *engine) as running, grpc.insecure_channel(running.address) as channel:
            metadata = [("traceparent", f"00-{trace_id}-{'c' * 16}-01")]
            request = pb.ClassifyRequest(model="kinds", items=[pb.Item(audio=normal())])
            for _ in range(30):  # Triton loses spans now and then
                running.stub(channel).Classify(request, metadata=metadata)
                if "c" * 16 in parents(spans := of_triton.spans_of(trace_id, lambda found: "c" * 16 in parents(found))):
                    break
    assert "c" * 16 in parents(spans)


def engines_of(collector: Collector, trace_id: str, calls: int) -> set[str]:
    """The ids of the gateway's spans of the engine, once each of so many calls has one."""

    def engines(found: list[Span]) -> list[str]:
        return [span.span_id.hex() for span in found if span.name == "engine"]

    return set(engines(collector.spans_of(trace_id, lambda found: len(engines(found)) >= calls)))


def parents(spans: list[dict[str, Any]]) -> set[str]:
    """The ids of what Triton's spans are below."""
    return {span["parentSpanId"] for span in spans}


def tracing_to(url: str) -> list[str]:
    """The options of Triton that send its spans there soon."""
    settings = ["mode=opentelemetry", f"opentelemetry,url={url}", "opentelemetry,bsp_schedule_delay=100", "rate=1"]
    return [f"--trace-config={each}" for each in [*settings, "level=TIMESTAMPS"]]


def lines_of(running: Gateway, log: Path, request_id: str) -> list[dict[str, str]]:
    """The lines of a call in the log, once it is written."""
    for _ in range(500):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        if found := [line for line in lines if line.get("request_id") == request_id]:
            return found
        running.metrics()  # takes a while
    raise AssertionError("the call has no line")

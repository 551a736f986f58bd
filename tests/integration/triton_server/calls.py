"""Build inference requests as protobuf messages, and read the responses."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import numpy as np
import numpy.typing as npt
import tritonclient.grpc
from triton_server.server import TritonServer
from tritonclient.grpc import service_pb2, service_pb2_grpc

Array = npt.NDArray[Any]


class Call(NamedTuple):
    """One inference request, as it goes over the wire: it need not make sense."""

    model: str
    inputs: dict[str, Array]
    outputs: Sequence[str] = ()
    version: str = ""
    dtype: str | None = None
    shape: Sequence[int] | None = None

    def message(self) -> Any:
        """The protobuf message; `dtype` and `shape` stand in for what the arrays would say of themselves."""
        request = service_pb2.ModelInferRequest(model_name=self.model, model_version=self.version)
        for name, array in self.inputs.items():
            dtype = self.dtype or tritonclient.utils.np_to_triton_dtype(array.dtype)
            request.inputs.add(name=name, datatype=dtype, shape=self.shape or array.shape)
            request.raw_input_contents.append(array.tobytes())
        for name in self.outputs:
            request.outputs.add(name=name)
        return request


def infer(server: TritonServer, call: Call, timeout: float | None = 30.0) -> dict[str, Array]:
    """Send one request over a connection of its own; all outputs of these models are float32."""
    with grpc.insecure_channel(server.grpc_url) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(call.message(), timeout=timeout)
    return {
        output.name: np.frombuffer(raw, np.float32).reshape(output.shape)
        for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


def at_once(server: TritonServer, calls: Sequence[Call]) -> list[dict[str, Array] | grpc.RpcError]:
    """Send requests together; the answers, or errors, in the order of the requests."""
    together = threading.Barrier(len(calls))

    def one(call: Call) -> dict[str, Array] | grpc.RpcError:
        together.wait()
        try:
            return infer(server, call)
        except grpc.RpcError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def rows(count: int, width: int = 4) -> Array:
    return np.random.default_rng(count).standard_normal((count, width)).astype(np.float32)


def counts(server: TritonServer, model: str) -> tuple[int, int]:
    """How many rows the model has answered, and in how many runs."""
    client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
    (statistics,) = client.get_inference_statistics(model).model_stats
    return statistics.inference_count, statistics.execution_count

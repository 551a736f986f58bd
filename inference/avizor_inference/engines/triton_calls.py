"""Write the requests that Triton's gRPC takes, send them from a thread or from an event loop, and read the answers.

`tritonclient` is not used for them. Its client for threads waits for ever where a server's answer is no message, and its client
for event loops builds each message in several steps.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from avizor_inference.arrays import Array
from avizor_inference.engines.base import InferRequest, ModelSpec
from avizor_inference.error_text import shortened
from avizor_inference.errors import EngineError, EngineMismatch
from avizor_inference.repository.triton_config import DATATYPES

_METHOD = "/inference.GRPCInferenceService/ModelInfer"


class TritonCalls:
    """Calls the Triton at `address` (host:port) from the event loop that creates it. options: of the gRPC channel.

    A channel for threads has one of its own that brings each answer, and takes the interpreter from the loop for that.
    """

    def __init__(self, address: str, options: Sequence[tuple[str, int]]) -> None:
        self.loop = asyncio.get_running_loop()
        self._channel = grpc.aio.insecure_channel(address, options)
        self._infer = infer_method(self._channel)

    async def infer(self, request: InferRequest, spec: ModelSpec, timeout_s: float | None) -> bytes | None:
        """Return what the server answers for a version: see `outputs_of`. Raises AioRpcError.

        A caller that is cancelled cancels the request there, too.
        """
        answer: bytes | None = await self._infer(message_of(request, spec), timeout=timeout_s, metadata=metadata_of(request))
        return answer

    def is_connected(self) -> bool:
        """Return whether there is a connection; else begin to make one. Any thread may ask."""
        state: grpc.ChannelConnectivity = self._channel.get_state(try_to_connect=True)
        return state is grpc.ChannelConnectivity.READY


def infer_method(channel: grpc.Channel | grpc.aio.Channel) -> Any:
    """Return what sends the bytes of a request, and gets those of the answer: gRPC would hide what cannot be read in them."""
    return channel.unary_unary(_METHOD)


def metadata_of(request: InferRequest) -> tuple[tuple[str, str], ...] | None:
    """Return what is sent beside the message of a request."""
    return (("traceparent", request.traceparent),) if request.traceparent else None


def message_of(request: InferRequest, spec: ModelSpec) -> bytes:
    """Return the message of a request to a version."""
    message = service_pb2.ModelInferRequest(model_name=request.model, model_version=str(spec.version), id=request.request_id)
    for name, array in request.inputs.items():
        message.inputs.add(name=name, datatype=DATATYPES[spec.inputs[name].dtype], shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    for name in request.outputs:
        message.outputs.add(name=name)
    return bytes(message.SerializeToString())


def outputs_of(answer: bytes | None, request: InferRequest, spec: ModelSpec, address: str) -> dict[str, Array]:
    """Return the outputs that a request asked for, in that order, [batch, *item_shape] each, from what was answered.

    answer: None if the call ended well without one. spec: of the version that was asked. address: of the server. Raises
    EngineMismatch for what is not of the version, EngineError if an output is missing.
    """
    try:
        message = service_pb2.ModelInferResponse.FromString(answer)
    except (DecodeError, TypeError):
        raise EngineMismatch(
            f"the server at {address} answered for model {request.model!r} with what is no message of Triton's protocol; "
            "see what is there, or between, and give the address of a Triton"
        ) from None
    outputs = message.outputs
    places = {outputs[place].name: place for place in range(len(outputs))}
    if missing := [name for name in request.outputs if name not in places]:
        # Triton's response cache can return an earlier request's outputs. It refuses to compute an output that there is not.
        raise EngineError(
            f"Triton at {address} answered for model {request.model!r} without {', '.join(sorted(missing))}; with "
            "response_cache in its config, all clients have to ask for the same outputs"
        )
    rows = len(next(iter(request.inputs.values())))
    found: dict[str, Array] = {}
    for name in request.outputs:
        if outputs[places[name]].HasField("contents"):
            raise EngineMismatch(
                f"the server at {address} answered for model {request.model!r} with typed contents (InferTensorContents of "
                f"output {name!r}), and Triton answers with raw_output_contents; see what is there, or between, and give the "
                "address of a Triton"
            )
        place, expected = places[name], spec.outputs[name]
        tensor, shape, datatype = outputs[place], [rows, *expected.item_shape], DATATYPES[expected.dtype]
        if tensor.shape != shape or tensor.datatype != datatype:
            came = shortened(f"{tensor.datatype}{list(tensor.shape)}")
            what = f"is {came}, and was to be {datatype}{shape}"
            raise EngineMismatch(_other_model(what, name, spec, address))
        content = message.raw_output_contents[place] if place < len(message.raw_output_contents) else b""
        try:
            found[name] = np.frombuffer(content, expected.dtype).reshape(shape)
        except ValueError:
            size = math.prod(shape) * np.dtype(expected.dtype).itemsize
            what = f"has {len(content)} bytes, and {datatype}{shape} has {size}"
            raise EngineMismatch(_other_model(what, name, spec, address)) from None
    return found


def _other_model(what: str, output: str, spec: ModelSpec, address: str) -> str:
    return (
        f"what Triton at {address} answered is not of model {spec.name!r} version {spec.version}: output {output!r} {what}; "
        "load that version again (`avizor models load`), or see whether something between changes answers"
    )

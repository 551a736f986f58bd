"""Send requests to a Triton from an event loop, and get the answers there: no other thread takes part."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from avizor_inference.engines.base import InferRequest, ModelSpec
from avizor_inference.errors import EngineError
from avizor_inference.repository.triton_config import DATATYPES

_METHOD = "/inference.GRPCInferenceService/ModelInfer"


class TritonCalls:
    """Calls the Triton at `address` (host:port) from the event loop that creates it. options: of the gRPC channel.

    `tritonclient` has a thread of its own that brings each answer, and takes the interpreter from the loop for that. Its client
    for event loops builds each message in several steps. So the messages here are Triton's own, as they are sent.
    """

    def __init__(self, address: str, options: Sequence[tuple[str, int]]) -> None:
        self.loop = asyncio.get_running_loop()
        self._channel = grpc.aio.insecure_channel(address, options)
        self._infer = self._channel.unary_unary(
            _METHOD,
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )

    async def infer(self, request: InferRequest, spec: ModelSpec, timeout_s: float | None) -> triton.InferResult:
        """Return what the server answers for a version. A caller that is cancelled cancels the request there, too.

        Raises AioRpcError, and EngineError for what is no answer of Triton's protocol.
        """
        metadata = (("traceparent", request.traceparent),) if request.traceparent else None
        answer = await self._infer(_message(request, spec), timeout=timeout_s, metadata=metadata)
        if answer is None:  # gRPC's way to say that the bytes could not be read
            raise EngineError(f"the server answered for model {request.model!r} with what is no message of Triton's protocol")
        return triton.InferResult(answer)

    def is_connected(self) -> bool:
        """Return whether there is a connection; else begin to make one. Any thread may ask."""
        state: grpc.ChannelConnectivity = self._channel.get_state(try_to_connect=True)
        return state is grpc.ChannelConnectivity.READY


def _message(request: InferRequest, spec: ModelSpec) -> service_pb2.ModelInferRequest:
    message = service_pb2.ModelInferRequest(model_name=request.model, model_version=str(spec.version), id=request.request_id)
    for name, array in request.inputs.items():
        message.inputs.add(name=name, datatype=DATATYPES[spec.inputs[name].dtype], shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    for name in request.outputs:
        message.outputs.add(name=name)
    return message

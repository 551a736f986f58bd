"""Tie each RPC of inference.GRPCInferenceService that is served to the function that answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from avizor_inference.errors import EngineUnavailable, InvalidInput
from avizor_service.calls import Call, Calls
from avizor_service.gateway import Gateway
from avizor_service.health_service import HealthService
from avizor_service.open_inference import describe
from avizor_service.open_inference.model_infer import model_infer
from avizor_service.open_inference.stream_infer import stream_infer
from avizor_service.rpc_steps import Answer, messages_of, unary
from avizor_service.small_messages import SmallMessages
from avizor_service.status import send_status
from avizor_service.streams import Streams
from avizor_service.transport import GrpcTransport

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


def handlers(
    gateway: Gateway, calls: Calls, streams: Streams, health: HealthService, small: SmallMessages
) -> grpc.GenericRpcHandler:
    """Return what answers the RPCs with the parts of a gateway. All others of the service are UNIMPLEMENTED."""
    answers: dict[str, Answer] = {
        "ServerMetadata": _server_metadata,
        "ModelReady": _model_ready,
        "ModelMetadata": _of_model(describe.model_metadata),
        "ModelConfig": _of_model(describe.model_config),
        "ModelStatistics": _of_model(describe.model_statistics),
        "RepositoryIndex": _repository_index,
        "ModelInfer": model_infer,
    }
    kinds = {rpc: getattr(pb, f"{rpc}Request") for rpc in answers}
    methods = {rpc: unary(rpc, kinds[rpc], answer, gateway, calls) for rpc, answer in answers.items()}
    methods["ServerLive"] = _health_check(small, lambda: pb.ServerLiveResponse(live=True))
    methods["ServerReady"] = _health_check(small, lambda: pb.ServerReadyResponse(ready=health.is_serving))
    methods["ModelStreamInfer"] = _stream(gateway, calls, streams)
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def _health_check(small: SmallMessages, answer: Callable[[], Message]) -> grpc.RpcMethodHandler:
    """Return what answers a call that is let in when the gateway is full."""

    async def serve(_requests: object, context: grpc.aio.ServicerContext) -> bytes | None:
        async with small.call(context) as admit:
            admit()
            await small.message(context)
            return bytes(answer().SerializeToString())
        await send_status(context)
        return None

    return grpc.stream_unary_rpc_method_handler(serve)


async def _server_metadata(_gateway: Gateway, _request: Any, _call: Call) -> Message:
    message: Message = describe.server_metadata()
    return message


async def _model_ready(gateway: Gateway, request: Any, call: Call) -> Message:
    try:
        ready = await describe.model_ready(gateway, call, request.name, request.version)
    except EngineUnavailable:
        ready = False
    message: Message = pb.ModelReadyResponse(ready=ready)
    return message


async def _repository_index(gateway: Gateway, request: Any, call: Call) -> Message:
    if request.repository_name:
        raise InvalidInput("there is one repository; leave its name out", field="repository_name")
    message: Message = await describe.repository_index(gateway, call, ready_only=request.ready)
    return message


def _of_model(describe_model: Callable[[Gateway, Call, str, str], Awaitable[Message]]) -> Answer:
    """Return what answers a request that names a model and its version."""

    async def answer(gateway: Gateway, request: Any, call: Call) -> Message:
        return await describe_model(gateway, call, request.name, request.version)

    return answer


def _stream(gateway: Gateway, calls: Calls, streams: Streams) -> grpc.RpcMethodHandler:
    async def serve(_requests: object, context: grpc.aio.ServicerContext) -> None:
        async with calls.call("ModelStreamInfer", GrpcTransport(context), streams) as call:
            call.admit()
            async with (
                aclosing(streams.until_stopped(messages_of(context))) as messages,
                aclosing(stream_infer(gateway, messages, call)) as responses,
            ):
                async for response in responses:
                    streams.require_running()
                    await calls.unread.write(context, response)

    return grpc.stream_stream_rpc_method_handler(serve)

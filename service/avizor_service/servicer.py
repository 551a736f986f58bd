"""Tie each RPC of avizor.v1.InferenceService to the function that answers it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from avizor.v1 import inference_pb2 as pb
from avizor_service.batches import call_ended_early
from avizor_service.calls import Call, Calls
from avizor_service.gateway import Gateway
from avizor_service.message_fields import Fields, not_a_message
from avizor_service.rpcs.classify import classify
from avizor_service.rpcs.detect_anomaly import detect_anomaly
from avizor_service.rpcs.embed import embed
from avizor_service.rpcs.explain import explain
from avizor_service.rpcs.get_model import get_model
from avizor_service.rpcs.list_models import list_models
from avizor_service.rpcs.monitor import monitor
from avizor_service.rpcs.reconstruct import reconstruct
from avizor_service.streams import Streams

SERVICE = pb.DESCRIPTOR.services_by_name["InferenceService"].full_name

Request = TypeVar("Request", bound=Message)
Answer = Callable[[Gateway, Any, Call], Awaitable[Message]]

# RPCs of one request and one response.
_UNARY: dict[str, tuple[type[Message], Answer]] = {
    "ListModels": (pb.ListModelsRequest, list_models),
    "GetModel": (pb.GetModelRequest, get_model),
    "Classify": (pb.ClassifyRequest, classify),
    "DetectAnomaly": (pb.DetectAnomalyRequest, detect_anomaly),
    "Embed": (pb.EmbedRequest, embed),
    "Reconstruct": (pb.ReconstructRequest, reconstruct),
    "Explain": (pb.ExplainRequest, explain),
}


def handlers(gateway: Gateway, calls: Calls, streams: Streams) -> grpc.GenericRpcHandler:
    """Return what answers the RPCs with the parts of a gateway."""
    methods = {rpc: _unary(rpc, kind, answer, gateway, calls) for rpc, (kind, answer) in _UNARY.items()}
    methods["Monitor"] = _monitor(gateway, calls, streams)
    return grpc.method_handlers_generic_handler(SERVICE, methods)


class NoMethod(grpc.GenericRpcHandler):
    """Refuses the calls that no handler before it knows. gRPC does so too, but then nobody notices those that are given up."""

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Return what refuses a call."""
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    async def _refuse(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        call_ended_early()  # it may have
        context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        context.set_details("there is no such RPC here; ask reflection for those there are")


def _unary(rpc: str, kind: type[Message], answer: Answer, gateway: Gateway, calls: Calls) -> grpc.RpcMethodHandler:
    """Return what takes a call through its steps: admit it by its headers, receive the message, parse, answer, serialise.

    The server knows it as one with a stream of requests, which on the wire is the same. It is then called when the headers have
    come, and not after the message has been received and parsed.
    """
    fields = Fields(kind.DESCRIPTOR)

    async def serve(_requests: object, context: grpc.aio.ServicerContext) -> bytes | None:
        async with calls.call(rpc, context) as call:
            call.admit()
            # No variable holds the request, which may be large, while the answer waits for its client.
            made = await answer(gateway, _parsed(kind, await call.message(fields)), call)
            return call.answer(made.SerializeToString())
        return None  # the call has failed

    return grpc.stream_unary_rpc_method_handler(serve)


def _monitor(gateway: Gateway, calls: Calls, streams: Streams) -> grpc.RpcMethodHandler:
    async def serve(_requests: object, context: grpc.aio.ServicerContext) -> None:
        async with calls.call("Monitor", context, streams) as call:
            call.admit()
            async with (
                aclosing(streams.until_stopped(_messages(context))) as messages,
                aclosing(monitor(gateway, _each_parsed(pb.MonitorRequest, messages, call), call)) as responses,
            ):
                async for response in responses:
                    streams.require_running()
                    await calls.unread.write(context, response.SerializeToString())

    return grpc.stream_stream_rpc_method_handler(serve)


async def _messages(context: grpc.aio.ServicerContext) -> AsyncGenerator[bytes, None]:
    """Yield the messages of a stream. gRPC does so too, and holds each until the next one is asked for."""
    while True:
        read = [await context.read()]
        if read[0] is grpc.aio.EOF:
            return
        yield read.pop()


async def _each_parsed(kind: type[Request], messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[Request, None]:
    fields = Fields(kind.DESCRIPTOR)
    async for message in messages:
        await call.unpacked_bytes(message, fields)
        request = [_parsed(kind, message)]
        del message
        yield request.pop()  # nothing here holds a large message after that


def _parsed(kind: type[Request], message: bytes) -> Request:
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise not_a_message(kind.DESCRIPTOR.full_name) from error

"""Take each call of an RPC through its steps: admit it by its headers, receive the message, parse, answer, serialise."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from avizor_service.calls import Call, Calls
from avizor_service.gateway import Gateway
from avizor_service.message_fields import Fields, not_a_message
from avizor_service.status import send_status
from avizor_service.transport import GrpcTransport

Request = TypeVar("Request", bound=Message)
Answer = Callable[[Gateway, Any, Call], Awaitable[Message | bytes]]


def unary(rpc: str, kind: type[Message], answer: Answer, gateway: Gateway, calls: Calls) -> grpc.RpcMethodHandler:
    """Return what takes a call of one request and one response through its steps. answer: returns a message, or its bytes.

    The server knows it as one with a stream of requests, which on the wire is the same. It is then called when the headers have
    come, and not after the message has been received and parsed.
    """
    fields = Fields(kind.DESCRIPTOR)

    async def serve(_requests: object, context: grpc.aio.ServicerContext) -> bytes | None:
        async with calls.call(rpc, GrpcTransport(context)) as call:
            call.admit()
            # No variable holds the request, which may be large, while the answer waits for its client.
            made = await answer(gateway, parsed(kind, await call.message(fields)), call)
            return call.answer(made if isinstance(made, bytes) else made.SerializeToString())
        await send_status(context)
        return None

    return grpc.stream_unary_rpc_method_handler(serve)


async def messages_of(context: grpc.aio.ServicerContext) -> AsyncGenerator[bytes, None]:
    """Yield the messages of a stream. gRPC does so too, and holds each until the next one is asked for."""
    while True:
        read = [await context.read()]
        if read[0] is grpc.aio.EOF:
            return
        yield read.pop()


async def each_parsed(kind: type[Request], messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[Request, None]:
    """Yield the messages of a stream, parsed. Raises what Call.unpacked_bytes and `parsed` raise."""
    fields = Fields(kind.DESCRIPTOR)
    async for message in messages:
        await call.unpacked_bytes(message, fields)
        request = [parsed(kind, message)]
        del message
        yield request.pop()  # nothing here holds a large message after that


def parsed(kind: type[Request], message: bytes) -> Request:
    """Return a message of this kind. Raises InvalidInput for bytes that are none."""
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise not_a_message(kind.DESCRIPTOR.full_name) from error

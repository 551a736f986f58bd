"""Serve reflection: v1, which clients ask for first, and v1alpha, which older ones know.

The package of grpcio has v1alpha alone. Both have the same messages under other names, so v1 is a copy with these.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError, Message
from grpc_reflection.v1alpha import reflection, reflection_pb2

from avizor_inference.errors import InvalidInput, MessageLate
from avizor_service.callers import current_caller
from avizor_service.small_messages import SmallMessages

SERVICE_NAME = reflection.SERVICE_NAME.replace("v1alpha", "v1")


def serve_reflection(services: Sequence[str], server: grpc.aio.Server, messages: SmallMessages) -> None:
    """Serve both versions of reflection for these services and for themselves."""
    _describe_v1()
    names = [*services, SERVICE_NAME, reflection.SERVICE_NAME]
    answers = reflection.aio.ReflectionServicer(names).ServerReflectionInfo

    async def serve(_requests: object, context: grpc.aio.ServicerContext) -> None:
        async with messages.call(context) as admit:
            admit()
            async with aclosing(answers(_requests_of(context, messages), context)) as responses:
                async for response in responses:
                    await messages.unread.write(context, response.SerializeToString())

    for name in (SERVICE_NAME, reflection.SERVICE_NAME):
        methods = {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(serve)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))


async def _requests_of(context: grpc.aio.ServicerContext, messages: SmallMessages) -> AsyncIterator[Message]:
    """Yield the requests of a call. One that asks nothing for a while is over: it would hold room for a large message.

    Raises InvalidInput, and Unauthenticated once the caller's token is revoked.
    """
    kind = reflection_pb2.ServerReflectionRequest
    while True:
        try:
            request: Message = kind.FromString(await messages.message(context))
        except DecodeError as error:
            raise InvalidInput("the message is not a ServerReflectionRequest; send one") from error
        except (InvalidInput, MessageLate):  # no more comes
            return
        current_caller().require_valid()
        yield request


def _describe_v1() -> None:
    """Make the description of v1 known, as clients ask for that of every service. Doing it again changes nothing."""
    text = text_format.MessageToString(FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb))
    file = text_format.Parse(text.replace("v1alpha", "v1"), FileDescriptorProto())
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())

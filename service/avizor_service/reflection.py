"""Serve reflection: v1, which clients ask for first, and v1alpha, which older ones know.

The package of grpcio has v1alpha alone. Both have the same messages under other names, so v1 is a copy with these.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

SERVICE_NAME = reflection.SERVICE_NAME.replace("v1alpha", "v1")


def serve_reflection(services: Sequence[str], server: grpc.aio.Server) -> None:
    """Serve both versions of reflection for these services and for themselves."""
    _describe_v1()
    names = [*services, SERVICE_NAME, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)
    answer = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(names).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    handler = grpc.method_handlers_generic_handler(SERVICE_NAME, {"ServerReflectionInfo": answer})
    server.add_generic_rpc_handlers((handler,))


def _describe_v1() -> None:
    """Make the description of v1 known, as clients ask for that of every service. Doing it again changes nothing."""
    text = text_format.MessageToString(FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb))
    file = text_format.Parse(text.replace("v1alpha", "v1"), FileDescriptorProto())
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())

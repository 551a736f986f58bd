"""Refuse calls of gRPC by their headers alone: those without a token, and those of RPCs that are not there."""

from __future__ import annotations

from typing import Any

import grpc

from avizor_service.batches import call_ended_early
from avizor_service.call_record import REQUEST_ID
from avizor_service.logs.call_log import CallLog


def refusal(details: grpc.HandlerCallDetails, code: grpc.StatusCode, message: str, log: CallLog | None) -> Any:
    """Return what ends a call with a status, and writes its line in the log. Its messages are not read."""
    path, headers = str(details.method), dict(details.invocation_metadata)

    def header(name: str) -> str:
        value = headers.get(name, "")
        return value if isinstance(value, str) else ""

    async def refuse(_requests: object, context: grpc.aio.ServicerContext) -> None:
        call_ended_early()  # it may have
        if log:
            context.set_trailing_metadata(((REQUEST_ID, log.refused(path, header, code.name, message)),))
        context.set_code(code)
        context.set_details(message)

    # Of an RPC of any kind, known or not: gRPC would receive the message of a unary one before it asks the handler.
    return grpc.stream_stream_rpc_method_handler(refuse)

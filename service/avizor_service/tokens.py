"""Read bearer tokens from the secret file that the front door reads too, and require one of every call in an interceptor."""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc

from avizor_inference.errors import TokenFileError
from avizor_service.batches import call_ended_early
from avizor_service.metrics import Metrics

# A line of nginx's map: "Bearer <token>" "<name>";
_LINE = re.compile(r'^"(Bearer [\x21\x23-\x7e]+)"\s+"?([\w.-]+)"?;$')

# These methods need no token, so that a container's health check needs no secret.
_WITHOUT_TOKEN = ("/grpc.health.v1.Health/",)


def read_tokens(path: Path) -> tuple[str, ...]:
    """Return the values of the authorization header that are allowed, at least one. Raises TokenFileError."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenFileError(f"{path}: cannot be read ({error})") from error
    headers = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise TokenFileError(f'{path}, line {number}: not of the form "Bearer <token>" "<name>";')
        headers.append(match[1])
    if not headers:
        raise TokenFileError(f"{path} holds no token, so nobody could call; write one, or leave --tokens out")
    return tuple(headers)


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Passes a call on if its `authorization` is one of the headers; else ends it with UNAUTHENTICATED."""

    def __init__(self, headers: tuple[str, ...], metrics: Metrics) -> None:
        self._headers = [header.encode() for header in headers]
        self._metrics = metrics

        async def refuse(_requests: object, context: grpc.aio.ServicerContext) -> None:
            call_ended_early()  # it may have
            context.set_code(grpc.StatusCode.UNAUTHENTICATED)
            context.set_details("send the metadata `authorization: Bearer <token>`")

        # Of an RPC of any kind, known or not: gRPC would receive the message of a unary one before it asks the handler.
        self._refuse = grpc.stream_stream_rpc_method_handler(refuse)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Return the handler of the RPC, or one that refuses. The request is not read before that."""
        if handler_call_details.method.startswith(_WITHOUT_TOKEN):
            return await continuation(handler_call_details)
        authorization = str(dict(handler_call_details.invocation_metadata).get("authorization", ""))
        if any(hmac.compare_digest(authorization.encode(), header) for header in self._headers):
            return await continuation(handler_call_details)
        self._metrics.rejected.labels("unauthenticated").inc()
        return self._refuse

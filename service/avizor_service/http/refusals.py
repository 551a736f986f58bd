"""Refuse requests that do not become calls: each is counted, has a line in the log, and is told its request id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from avizor_service.call_record import REQUEST_ID
from avizor_service.http.answers import send_error, send_open_error
from avizor_service.logs.call_log import CallLog
from avizor_service.metrics import Metrics
from avizor_service.status import grpc_code

# Why: no valid token; a page of another site asks; the host that is asked for is another one; there is no such path, or method;
# it is no HTTP.
Reason = Literal["unauthenticated", "origin", "host", "unknown", "malformed"]

_NO_SUCH_PATH = "there is no such path here; see docs/http.md"
_HOW_TO_CALL = "send the header `Authorization: Bearer <token>`"

# Paths of the Open Inference Protocol, whose errors have a form of their own.
_OPEN = "/v2"

_NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Refusals:
    """Refuses requests. log, metrics: where they are noted."""

    log: CallLog
    metrics: Metrics

    async def unauthenticated(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say that a token is needed. Whoever compared the token has counted it."""
        status = Status(code=Code.UNAUTHENTICATED, message=_HOW_TO_CALL)
        await self._send(scope, receive, send, status, None, _NONE)

    async def forbidden(self, scope: Scope, receive: Receive, send: Send, reason: Reason, message: str) -> None:
        """Say that nobody may ask in this way."""
        self._count(reason)
        await self._send(scope, receive, send, Status(code=Code.PERMISSION_DENIED, message=message), None, _NONE)

    async def unknown_path(self, scope: Scope, receive: Receive, send: Send, message: str = _NO_SUCH_PATH) -> None:
        """Say that nothing is under a path."""
        self._count("unknown")
        await self._send(scope, receive, send, Status(code=Code.UNIMPLEMENTED, message=message), 404, _NONE)

    async def unknown_method(self, scope: Scope, receive: Receive, send: Send, allowed: str) -> None:
        """Say that a path has other methods than that of the request. allowed: as the header Allow has them."""
        self._count("unknown")
        message = f"this path has no method {scope['method'][:20]}; it has {allowed}; see docs/http.md"
        await self._send(scope, receive, send, Status(code=Code.UNIMPLEMENTED, message=message), 405, {"allow": allowed})

    async def malformed(self, scope: Scope, receive: Receive, send: Send, message: str) -> None:
        """Say that a request is none, and end its connection: nobody knows where the next one begins."""
        self._count("malformed")
        status = Status(code=Code.INVALID_ARGUMENT, message=message)
        await self._send(scope, receive, send, status, None, {"connection": "close"})

    def no_http(self, message: str) -> str:
        """Note that what came is no HTTP, and return its request id."""
        self._count("malformed")
        return self.log.refused("", lambda _: "", "INVALID_ARGUMENT", message)

    def _count(self, reason: Reason) -> None:
        self.metrics.rejected.labels(reason).inc()

    async def _send(
        self, scope: Scope, receive: Receive, send: Send, status: Status, code: int | None, headers: Mapping[str, str]
    ) -> None:
        path, given = scope["path"], Headers(scope=scope)
        request_id = self.log.refused(path, lambda name: given.get(name, ""), grpc_code(status).name, status.message)
        form = send_open_error if path == _OPEN or path.startswith(f"{_OPEN}/") else send_error
        await form(scope, receive, send, status, {**headers, REQUEST_ID: request_id}, code)

"""Answer HTTP: who calls is looked at first, then what the path names answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from avizor_inference.errors import AvizorError
from avizor_service.callers import set_caller
from avizor_service.http.answers import refuse_method, send_error
from avizor_service.http.transport import TIMEOUT
from avizor_service.status import status_of
from avizor_service.tokens import Tokens

# Whether the gateway lives, and whether it serves, as the Open Inference Protocol asks. They need no token, as gRPC's checks.
LIVE, READY = "/v2/health/live", "/v2/health/ready"

_HOW_TO_CALL = "send the header `Authorization: Bearer <token>`"


@dataclass(frozen=True)
class App:
    """Answers HTTP: an application of ASGI.

    routes: what paths are answered by. is_ready: whether the gateway serves. origins: of the pages that browsers may let call.
    """

    routes: Sequence[Route]
    tokens: Tokens
    is_ready: Callable[[], bool]
    origins: Sequence[str] = ()

    def asgi(self) -> ASGIApp:
        """Return the application, with what browsers ask for if there are origins."""
        inner = _Guarded(self.tokens, self.origins, Router(self.routes, redirect_slashes=False, default=_no_such_path))
        outer: ASGIApp = _Health(inner, self.is_ready)
        if not self.origins:
            return outer
        return CORSMiddleware(
            outer,
            allow_origins=self.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Traceparent", TIMEOUT, "X-Request-Id"],
            expose_headers=["Retry-After", "X-Request-Id"],
        )


@dataclass(frozen=True)
class _Health:
    """Answers health checks: anyone's."""

    inner: ASGIApp
    is_ready: Callable[[], bool]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in (LIVE, READY):
            await self.inner(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await refuse_method(scope, receive, send)
        else:
            await Response(status_code=200 if scope["path"] == LIVE or self.is_ready() else 503)(scope, receive, send)


@dataclass(frozen=True)
class _Guarded:
    """Passes on the requests of those who may call."""

    tokens: Tokens
    origins: Sequence[str]
    router: Router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins:
            # A browser sends what a page of another site asks for, and only keeps the answer from it.
            status = Status(code=Code.PERMISSION_DENIED, message="pages of this origin may not call; --cors-origin allows one")
            await send_error(scope, receive, send, status)
            return
        given = headers.getlist("authorization")
        caller = self.tokens.caller_of(given[0] if len(given) == 1 else "")
        if caller is None:
            await send_error(scope, receive, send, Status(code=Code.UNAUTHENTICATED, message=_HOW_TO_CALL))
            return
        set_caller(caller)
        try:
            await self.router(scope, receive, send)
        except AvizorError as error:  # before there was a call
            await send_error(scope, receive, send, status_of(error))


async def _no_such_path(scope: Scope, receive: Receive, send: Send) -> None:
    message = "there is no such path here; see docs/http.md"
    await send_error(scope, receive, send, Status(code=Code.UNIMPLEMENTED, message=message), 404)

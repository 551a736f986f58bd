"""Answer HTTP: who calls is looked at first, then what the path names answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from avizor_service.callers import set_caller
from avizor_service.http.browsers import Browsers
from avizor_service.http.refusals import Refusals
from avizor_service.http.request_targets import with_origin_form
from avizor_service.http.transport import TIMEOUT
from avizor_service.tokens import Tokens

# Whether the gateway lives, and whether it serves, as the Open Inference Protocol asks. They need no token, as gRPC's checks.
LIVE, READY = "/v2/health/live", "/v2/health/ready"


@dataclass(frozen=True)
class App:
    """Answers HTTP: an application of ASGI.

    routes: what paths are answered by. is_ready: whether the gateway serves. browsers: what they may ask for. refusals: what
    answers all else.
    """

    routes: Sequence[Route]
    tokens: Tokens
    is_ready: Callable[[], bool]
    browsers: Browsers
    refusals: Refusals

    def asgi(self) -> ASGIApp:
        """Return the application, with what browsers ask for if pages may call."""
        router = Router(self.routes, redirect_slashes=False, default=self.refusals.unknown_path)
        app: ASGIApp = _Health(_Guarded(self.tokens, router, self.refusals), self.is_ready, self.refusals)
        if self.browsers.origins:
            app = CORSMiddleware(
                app,
                allow_origins=list(self.browsers.origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", "Traceparent", TIMEOUT, "X-Request-Id"],
                expose_headers=["Retry-After", "X-Request-Id"],
            )
        return _Asked(app, self.browsers, self.refusals)


@dataclass(frozen=True)
class _Asked:
    """Passes on the requests that are in order, and that no page sends that may not."""

    inner: ASGIApp
    browsers: Browsers
    refusals: Refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with_origin_form(scope)
        headers = Headers(scope=scope)
        if "transfer-encoding" in headers and "content-length" in headers:
            # Another server before this one may see another end of it.
            message = "the request has both Content-Length and Transfer-Encoding; send one"
            await self.refusals.malformed(scope, receive, send, message)
        elif message := self.browsers.foreign_host(headers):
            await self.refusals.forbidden(scope, receive, send, "host", message)
        elif message := self.browsers.foreign_origin(headers):
            await self.refusals.forbidden(scope, receive, send, "origin", message)
        else:
            await self.inner(scope, receive, send)


@dataclass(frozen=True)
class _Health:
    """Answers health checks: anyone's."""

    inner: ASGIApp
    is_ready: Callable[[], bool]
    refusals: Refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in (LIVE, READY):
            await self.inner(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await self.refusals.unknown_method(scope, receive, send, "GET, HEAD")
        else:
            await Response(status_code=200 if scope["path"] == LIVE or self.is_ready() else 503)(scope, receive, send)


@dataclass(frozen=True)
class _Guarded:
    """Passes on the requests of those who may call."""

    tokens: Tokens
    inner: ASGIApp
    refusals: Refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).getlist("authorization")
        caller = self.tokens.caller_of(given[0] if len(given) == 1 else "")
        if caller is None:
            await self.refusals.unauthenticated(scope, receive, send)
            return
        set_caller(caller)
        await self.inner(scope, receive, send)

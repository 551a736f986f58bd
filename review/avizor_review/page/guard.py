"""Let in whoever may look, keep other sites' pages out, and tell browsers to run nothing but the page's own script.

A server on this machine is reached by every page that its user reads. Without the checks of Host and Origin another site could
answer in the reviewer's name, or, once its name means this machine (DNS rebinding), read what was found.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avizor_review.page.bodies import TooLarge, body_of

LOGIN = "/login"
STATIC = "/static/"

_COOKIE = "avizor-review"
_MOST_FORM_BYTES = 8 << 10

# Everything comes from this server, and no script or style is within a page. So what a file's name or a note has in it cannot
# run even if it were not escaped.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Of a page without a referrer, browsers would name no origin either when its form is sent.
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)

# What browsers say of a request that no other site has asked for.
_OWN_SITE = ("same-origin", "none")


@dataclass(frozen=True)
class Guard:
    """Passes on the requests of those who may look: an application of ASGI.

    names: hosts by which the server may be called; this machine's are always. token: that a reviewer has to give once; empty
    for none. is_tls: whether cookies travel encrypted only.
    """

    inner: ASGIApp
    names: Collection[str]
    token: str = ""
    is_tls: bool = False
    _session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        await self._answer(scope, receive, _with_headers(send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if not self._is_own_name(request.headers.get("host", "")):
            await _refuse(403, "this server does not answer to that name; --name allows another one")(scope, receive, send)
        elif request.method not in ("GET", "HEAD") and not _is_own_page(request.headers):
            await _refuse(403, "pages of other sites may not answer")(scope, receive, send)
        elif not self.token or request.url.path.startswith(STATIC) or self._is_known(request):
            await self.inner(scope, receive, send)
        elif request.url.path == LOGIN and request.method == "POST":
            await (await self._login(request))(scope, receive, send)
        elif request.url.path == LOGIN:
            await self.inner(scope, receive, send)
        elif request.method == "GET":
            await RedirectResponse(LOGIN, 303)(scope, receive, send)
        else:
            await _refuse(401, "give the token first")(scope, receive, send)

    def _is_known(self, request: Request) -> bool:
        given = request.cookies.get(_COOKIE, "")
        bearer = request.headers.get("authorization", "")
        return _equal(given, self._session) or _equal(bearer, f"Bearer {self.token}")

    async def _login(self, request: Request) -> Response:
        try:
            body = await body_of(request, _MOST_FORM_BYTES)
        except TooLarge:
            return _refuse(413, "the form is too large")
        except ClientDisconnect:
            return _refuse(400, "the form is not complete")  # nobody reads it
        given = parse_qs(body.decode("ascii", "replace")).get("token", [""])[0]
        if not _equal(given.strip(), self.token):
            return RedirectResponse(f"{LOGIN}?wrong=1", 303)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(_COOKIE, self._session, httponly=True, secure=self.is_tls, samesite="strict")
        return answer

    def _is_own_name(self, host: str) -> bool:
        name = _hostname(host)
        return name in self.names or name == "localhost" or _is_loopback(name)


def _is_own_page(headers: Headers) -> bool:
    """Return whether a request that changes something comes from a page of this server, or from no page."""
    if headers.get("sec-fetch-site", "none") not in _OWN_SITE:
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host")
    except ValueError:
        return False


def _hostname(host: str) -> str:
    """Return the name in a Host header, without a port; "" if it is none."""
    try:
        return urlsplit(f"//{host}").hostname or "" if host.isprintable() and " " not in host else ""
    except ValueError:
        return ""


def _with_headers(send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name.lower().encode(), value.encode()) for name, value in _HEADERS]
            message["headers"] = [*message["headers"], *own]
        await send(message)

    return answer


def _refuse(status: int, why: str) -> Response:
    return PlainTextResponse(f"{why}\n", status)


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

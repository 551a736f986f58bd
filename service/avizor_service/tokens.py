"""Read bearer tokens from the secret file that the front door reads too, and require one of every call in an interceptor."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from avizor_inference.error_text import reason
from avizor_inference.errors import TokenFileError
from avizor_inference.regular_files import read_regular
from avizor_inference.repository.manifest import NAME_PATTERN
from avizor_service.callers import Caller, set_caller
from avizor_service.logs.call_log import CallLog
from avizor_service.metrics import Metrics
from avizor_service.refusals import refusal
from avizor_service.whole import ALONE, Whole

_log = logging.getLogger(__name__)

# A line of nginx's map: "Bearer <token>" "<name>"; or "Bearer <token>" "<name> models=a,b rate=50";
_LINE = re.compile(r'^"(Bearer [\x21\x23-\x7e]+)"\s+(?:"([\w.-]+)((?: +[a-z]+=[\w.,-]*)*)"|([\w.-]+));$')
_FORM = 'not of the form "Bearer <token>" "<name>"; or "Bearer <token>" "<name> models=<a>,<b> rate=<calls a second>";'

# Bytes of the largest file: a hundred thousand tokens.
_MOST_BYTES = 16 << 20

# Calls a second that a token may be limited to.
_RATES = (0.001, 1e6)

# These methods need no token, so that a container's health check needs no secret.
_WITHOUT_TOKEN = ("/grpc.health.v1.Health/",)

HOW_TO_CALL = "send the metadata `authorization: Bearer <token>`"


@dataclass(frozen=True)
class Token:
    """Holds what a line of the file says. Of the token itself only the digest is kept.

    digest: sha256 of the value of the authorization header. models: that it may ask for; None for all. rate: calls a second.
    """

    digest: bytes
    name: str
    models: frozenset[str] | None = None
    rate: float | None = None


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Return the tokens that are allowed, at least one. Raises TokenFileError, which never shows a token."""
    try:
        lines = str(read_regular(path, _MOST_BYTES), "ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = "it has characters beyond ASCII" if isinstance(error, UnicodeDecodeError) else reason(error)
        raise TokenFileError(f"{path}: cannot be read ({why})") from None
    tokens: dict[bytes, Token] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        try:
            token = _token(line)
        except ValueError as error:
            raise TokenFileError(f"{path}, line {number}: {error}") from None
        if token.digest in tokens:
            raise TokenFileError(f"{path}, line {number}: the token stands in an earlier line too; leave one of them")
        tokens[token.digest] = token
    if not tokens:
        raise TokenFileError(f"{path} holds no token, so nobody could call; write one, or leave --tokens out")
    return tuple(tokens.values())


def _token(line: str) -> Token:
    """Return what a line says. Raises ValueError, without the line: it may have a token in it."""
    match = _LINE.match(line)
    if match is None:
        raise ValueError(_FORM)
    header, name, rights, bare_name = match.groups()
    models = rate = None
    seen: set[str] = set()
    for right in (rights or "").split():
        key, _, value = right.partition("=")
        if key in seen:
            raise ValueError(f"{key}= stands twice; leave one of them")
        seen.add(key)
        if key == "models":
            models = _models(value)
        elif key == "rate":
            rate = _rate(value)
        else:
            raise ValueError(f"{key}= is not known; there are models= and rate=")
    return Token(hashlib.sha256(header.encode()).digest(), name or bare_name, models, rate)


def _models(value: str) -> frozenset[str]:
    names = value.split(",")
    for name in names:
        if not re.match(NAME_PATTERN, name):
            raise ValueError(f"models={value}: {name!r} is not the name of a model; write names with commas between them")
    return frozenset(names)


def _rate(value: str) -> float:
    lowest, highest = _RATES
    try:
        rate = float(value)
    except ValueError:
        rate = 0.0
    if not lowest <= rate <= highest:
        raise ValueError(f"rate={value} is not a number of calls a second from {lowest:g} to {highest:.0f}")
    return rate


class Tokens:
    """Knows who holds which token. tokens: that count now; None lets anyone call. whole: in which their rates are bounded."""

    def __init__(self, tokens: Sequence[Token] | None, metrics: Metrics, whole: Whole = ALONE) -> None:
        self._metrics, self._anyone, self._whole = metrics, tokens is None, whole
        self._callers: dict[Token, Caller] = {}
        self.replace(tokens or ())

    def caller_of(self, authorization: str) -> Caller | None:
        """Return who calls with this authorization, `Bearer <token>`; None if it is not one of the file, which is counted.

        The time that this takes does not depend on which token it is, or on how much of one it has.
        """
        if self._anyone:
            return Caller()
        digest = hashlib.sha256(authorization.encode(errors="surrogatepass")).digest()
        found = None
        for token, caller in self._callers.items():
            if hmac.compare_digest(digest, token.digest):
                found = caller
        if found is None:
            self._metrics.rejected.labels("unauthenticated").inc()
        return found

    def replace(self, tokens: Sequence[Token]) -> None:
        """Let these tokens count from now on. Those that are gone, or may now do other things, are revoked."""
        before, self._callers = self._callers, {}
        new = []
        for token in tokens:
            if token in before:
                self._callers[token] = before.pop(token)
            else:
                self._callers[token] = self._caller(token)
                new.append(token.name)
        for caller in before.values():
            caller.revoked.set()
        if before or new:
            gone = ", ".join(caller.name for caller in before.values())
            _log.info("tokens that count now: %d; new: %s; revoked: %s", len(tokens), ", ".join(new) or "none", gone or "none")

    def _caller(self, token: Token) -> Caller:
        refused = self._metrics.rejected.labels("rate").inc
        rate = self._whole.rate(token.digest.hex(), token.rate, refused) if token.rate else None
        return Caller(token.name, token.models, rate)


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Passes a call on if its `authorization` is one of the tokens; else ends it with UNAUTHENTICATED."""

    def __init__(self, tokens: Tokens, log: CallLog | None = None) -> None:
        self._tokens, self._log = tokens, log

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Return the handler of the RPC, or one that refuses. The request is not read before that."""
        if handler_call_details.method.startswith(_WITHOUT_TOKEN):
            return await continuation(handler_call_details)
        given = [value for key, value in handler_call_details.invocation_metadata if key == "authorization"]
        caller = self._tokens.caller_of(str(given[0]) if len(given) == 1 else "")
        if caller is None:
            return refusal(handler_call_details, grpc.StatusCode.UNAUTHENTICATED, HOW_TO_CALL, self._log)
        set_caller(caller)  # gRPC runs the handler in the same task
        return await continuation(handler_call_details)

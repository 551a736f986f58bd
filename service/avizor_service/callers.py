"""Say who calls: the name of a token, the models that it may ask for, how often, and whether it still counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar

from avizor_inference.errors import NotAllowed, RateExceeded, Unauthenticated


class Rate:
    """Bounds how many calls are let in: `per_second` on average, and a second's worth, at least one, at once.

    refused: is called for each call that is turned away.
    """

    def __init__(self, per_second: float, refused: Callable[[], None] = lambda: None) -> None:
        self.per_second, self._refused = per_second, refused
        self._most = max(1.0, per_second)
        self._left, self._at = self._most, time.monotonic()

    def take(self) -> None:
        """Let one call in. Raises RateExceeded."""
        now = time.monotonic()
        self._left, self._at = min(self._most, self._left + (now - self._at) * self.per_second), now
        if self._left < 1:
            self._refused()
            raise RateExceeded(
                f"this token may make {self.per_second:g} calls a second, and they are used up; try again later",
                (1 - self._left) / self.per_second,
            )
        self._left -= 1


class Caller:
    """Stands for who holds a token. name: of the token; empty for anyone. models: that it may ask for; None for all.

    `revoked` is set, on the event loop, when the token no longer counts as it was: what is long under way has to end then.
    """

    def __init__(self, name: str = "", models: frozenset[str] | None = None, rate: Rate | None = None) -> None:
        self.name, self.models, self.rate = name, models, rate
        self.revoked = asyncio.Event()

    def admit(self) -> None:
        """Count one call. Raises RateExceeded if the token has made too many, Unauthenticated if it no longer counts."""
        self.require_valid()
        if self.rate:
            self.rate.take()

    def require_valid(self) -> None:
        """Raise Unauthenticated once the token is revoked, or may do other things than when the call began."""
        if self.revoked.is_set():
            raise Unauthenticated("the token was revoked, or its rights have changed; call again with a valid one")

    def may_call(self, model: str) -> bool:
        """Return whether the token may ask for a model of that name, be there one or not."""
        return self.models is None or model in self.models

    def require(self, model: str) -> None:
        """Raise NotAllowed if the token may not ask for a model of that name. It does not say whether there is one."""
        if not self.may_call(model):
            raise NotAllowed("this token may not call that model; ListModels names those that it may")


_caller: ContextVar[Caller] = ContextVar("caller")


def current_caller() -> Caller:
    """Return who makes the call that the current task answers; anyone, if the gateway asks for no tokens."""
    return _caller.get(None) or Caller()


def set_caller(caller: Caller) -> None:
    """Say who makes the call that the current task answers, before anything is done for it."""
    _caller.set(caller)

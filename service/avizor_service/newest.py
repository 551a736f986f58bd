"""Let a call that names no version be answered by the next one, if its version is replaced while it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar

from avizor_inference.errors import VersionNotLoaded
from avizor_service.calls import Call
from avizor_service.gateway import Gateway

Answer = TypeVar("Answer")


def by_newest(
    answer: Callable[[Gateway, Any, Call], Awaitable[Answer]],
) -> Callable[[Gateway, Any, Call], Coroutine[Any, Any, Answer]]:
    """Wrap what answers a request that has a `version`: where it names none, one version answers all of it, or the next one.

    A server that loads a new version unloads the old one when its runs have ended. A call may have opened the old one, and come
    with its items a moment later. Nothing of it has been counted or sent then.
    """

    @wraps(answer)
    async def answered(gateway: Gateway, request: Any, call: Call) -> Answer:
        try:
            return await answer(gateway, request, call)
        except VersionNotLoaded:  # the newest has been forgotten: the next look finds what is loaded now
            if request.version:
                raise
        return await answer(gateway, request, call)

    return answered

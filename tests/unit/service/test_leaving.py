"""leaving.py: what a thread was given is not kept once it has failed at it."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from avizor_service.threads import open_threads


class Request:
    """Something large that a call holds."""


def test_a_failed_call_keeps_nothing_until_a_full_collection() -> None:
    def fail(_request: Request) -> None:
        raise ValueError("no")

    async def run() -> weakref.ref[Request]:
        request = Request()
        with open_threads(1) as threads:
            with pytest.raises(ValueError, match="no"):
                await threads.wait_for(fail, request)
            await asyncio.sleep(0)
        return weakref.ref(request)

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(run())() is None
    finally:
        gc.enable()

"""server.py: what goes on beside the calls of a gateway does not end unseen."""

from __future__ import annotations

import asyncio
import logging

import pytest

from avizor_service.server import _in_background


async def look_after_connections() -> None:
    raise ValueError("no such address")


def test_what_fails_beside_the_calls_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        stopped = _in_background(asyncio.sleep(3600))
        await asyncio.wait([_in_background(look_after_connections())])
        stopped.cancel()
        await asyncio.wait([stopped])

    with caplog.at_level(logging.ERROR, "avizor_service"):
        asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == [
        "look_after_connections has failed, and is not done any more; restart the gateway"
    ]
    assert "no such address" in caplog.text

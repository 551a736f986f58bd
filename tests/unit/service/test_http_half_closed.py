"""http/connections.py: a client that sends no more is answered if that is soon; a call that takes longer is cancelled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from avizor_service.http import connections
from avizor_service.http.connections import Connections
from avizor_service.http.refusals import Refusals
from avizor_service.logs.call_log import CallLog
from avizor_service.metrics import Metrics
from avizor_service.settings import Settings


def test_a_long_call_of_a_client_that_sends_no_more_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_LINGER_S", 0.1)
    assert asyncio.run(asyncio.wait_for(call_that_never_ends(), 30)) == (b"", True)


async def call_that_never_ends() -> tuple[bytes, bool]:
    """What a half-closed client reads, and whether its call was cancelled."""
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    refusals = Refusals(CallLog(lambda _: None, str, "none"), Metrics())
    held = Connections(app, Settings(models=Path("models")), 10, refusals)
    server = await asyncio.get_running_loop().create_server(held.made, "127.0.0.1", 0)
    late = asyncio.create_task(held.end_late())
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await began.wait()
    writer.write_eof()
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""
    await cancelled.wait()
    late.cancel()
    writer.close()
    server.close()
    return answer, cancelled.is_set()

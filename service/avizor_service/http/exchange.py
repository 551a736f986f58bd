"""Take a call of HTTP through the steps of every call, and send what comes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from google.rpc.status_pb2 import Status
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from avizor_service.calls import Call, Calls
from avizor_service.http.answers import JSON
from avizor_service.http.compression import is_worth_packing, packed, wanted_encoding
from avizor_service.http.refusals import Refusals
from avizor_service.http.transport import HttpTransport
from avizor_service.message_memory import MessageMemory
from avizor_service.threads import Threads

# Sends what a failed call ends with, and headers besides.
SendStatus = Callable[[Scope, Receive, Send, Status, Mapping[str, str]], Awaitable[None]]

# Answers calls: returns the body, as JSON unless it sets another Content-Type.
Made = Callable[[Call, HttpTransport], Awaitable[bytes]]


@dataclass(frozen=True)
class Endpoint:
    """Answers one path with one method: an application of ASGI. packs: whether an answer may be compressed."""

    calls: Calls
    messages: MessageMemory
    threads: Threads
    refusals: Refusals
    send_status: SendStatus
    rpc: str
    method: str
    made: Made
    packs: bool = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call. It is admitted by its headers, before its body is read."""
        if scope["method"] != self.method:
            await self.refusals.unknown_method(scope, receive, send, self.method)
            return
        transport, answer = HttpTransport(scope, receive, self.messages, self.threads), b""
        async with self.calls.call(self.rpc, transport) as call, transport.until_deadline():
            call.admit()
            answer = call.answer(await self.made(call, transport))
            encoding = wanted_encoding(transport.header("accept-encoding")) if self.packs else ""
            if encoding and is_worth_packing(answer):
                answer = await self.threads.wait_for(packed, answer, encoding)
                transport.answer_header("content-encoding", encoding)
        headers = transport.answer_headers
        if transport.status.code:
            await self.send_status(scope, receive, send, transport.status, headers)
        else:
            await Response(answer, headers=headers, media_type=JSON)(scope, receive, send)

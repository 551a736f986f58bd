"""Exchange messages between the first process and a worker: JSON objects, one a line, over a pair of sockets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]

# Bytes of the longest message: the gauges of a gateway with thousands of models and sources.
_LONGEST = 1 << 26


class Peer:
    """Talks with the process at the other end. `open` it in an event loop, and let `listen` run.

    answer(message): returns what is asked for by a message that came; None for one that is only told.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}

    @classmethod
    async def open(cls, end: socket.socket) -> Peer:
        """Return what talks over this end of a pair of sockets, which it then owns."""
        end.setblocking(False)
        return cls(*await asyncio.open_connection(sock=end, limit=_LONGEST))

    def tell(self, **message: Any) -> None:
        """Send a message that has no answer. One that has ended hears nothing."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def ask(self, timeout_s: float, **message: Any) -> Any:
        """Send a message, and return its answer. Raises TimeoutError, ConnectionError."""
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self.tell(number=number, **message)
            async with asyncio.timeout(timeout_s):
                return await future
        finally:
            del self._asked[number]

    async def listen(self, answer: Callable[[Message], Awaitable[Any]]) -> None:
        """Let messages be answered, one after the other, until the other process has ended."""
        try:
            with contextlib.suppress(ConnectionError):
                # One that is killed may leave half a message, without an end of line.
                while (line := await self._reader.readline()).endswith(b"\n"):
                    await self._hear(json.loads(line), answer)
        finally:
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_exception(ConnectionResetError("the process has ended"))

    async def _hear(self, message: Message, answer: Callable[[Message], Awaitable[Any]]) -> None:
        if "answer" in message:
            if (asked := self._asked.get(message["number"])) and not asked.done():
                asked.set_result(message["answer"])
            return
        answered = await answer(message)
        if "number" in message:
            self.tell(number=message["number"], answer=answered)

    async def close(self) -> None:
        """Close this end, once all is sent."""
        with contextlib.suppress(ConnectionError):
            self._writer.close()
            await self._writer.wait_closed()

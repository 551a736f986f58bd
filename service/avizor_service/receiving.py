"""Receive the message of a call, and give up on a client that does not send it."""

from __future__ import annotations

import asyncio
import time

from avizor_inference.errors import InvalidInput, MessageLate
from avizor_service.transport import Transport

# The shortest time between two looks at what is late, and the longest.
_LOOKS_S = (0.05, 1.0)


class Receiver:
    """Receives the messages of calls, each in at most timeout_s seconds, while `end_late` runs.

    One task looks after all calls. A timer for each call would cost more than the rest of receiving a message.
    """

    def __init__(self, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s
        self._since: dict[asyncio.Task[object], float] = {}  # the task of each call that waits -> when it began; in order

    async def message(self, transport: Transport) -> bytes:
        """Return the next message of a call. It is not read from the connection before that.

        Raises InvalidInput if the call ends without one, MessageLate if it is not complete in time, and what Transport.read
        raises.
        """
        task = asyncio.current_task()
        assert task is not None, "calls run in tasks"
        self._since[task] = time.monotonic()
        try:
            message = await transport.read()
        except asyncio.CancelledError:
            if task in self._since:
                raise
            task.uncancel()
            raise MessageLate(
                f"the message was not complete after {self._timeout_s:g} s (the gateway's --receive-timeout-s); send it in one "
                "go, and less at once if the line is slow"
            ) from None
        finally:
            self._since.pop(task, None)
        if message is None:
            raise InvalidInput("the call holds no message; send one")
        return message

    async def end_late(self) -> None:
        """End, again and again, the calls whose message is late. Returns when cancelled."""
        shortest, longest = _LOOKS_S
        while True:
            await asyncio.sleep(min(longest, max(shortest, self._timeout_s / 4)))
            self._end_late(time.monotonic() - self._timeout_s)

    def _end_late(self, begun_before: float) -> None:
        while self._since:
            task, since = next(iter(self._since.items()))
            if since > begun_before:
                return
            del self._since[task]  # so the call knows why it is cancelled
            task.cancel()

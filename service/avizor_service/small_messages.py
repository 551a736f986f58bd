"""Bound health checks and reflection: how many calls there are, and the memory of their messages.

They are let in when the gateway is full, as it has to say so. Their messages are small, but a client may send large ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import grpc

from avizor_inference.errors import AvizorError, GatewayFull, MessageTooLarge
from avizor_service.message_fields import SMALL_BYTES
from avizor_service.message_memory import MessageMemory
from avizor_service.receiving import Receiver
from avizor_service.status import end, status_of

# So many messages are received at once, even if there is no room for any.
_ALWAYS = 2

# Seconds in which such a message has to come. It is sent with the headers of its call.
_TIMEOUT_S = 5.0


class SmallMessages:
    """Lets at most `max_calls` of these calls in, and receives their messages.

    messages: where what is received beyond `_ALWAYS` messages at once takes room. timeout_s: longest time to receive one, up to
    five seconds.
    """

    def __init__(self, messages: MessageMemory, max_calls: int, timeout_s: float = _TIMEOUT_S) -> None:
        self.receiver = Receiver(min(timeout_s, _TIMEOUT_S))
        self._messages, self._max_calls = messages, max_calls
        self._calls = self._receiving = 0

    @contextlib.asynccontextmanager
    async def call(self, context: grpc.aio.ServicerContext) -> AsyncIterator[Callable[[], None]]:
        """Surround a call. Yield what lets it in, and raises GatewayFull if there are too many.

        If the block raises one of Avizor's errors, the call ends with its status.
        """
        places = 0

        def admit() -> None:
            nonlocal places
            if self._calls >= self._max_calls:
                raise GatewayFull(f"{self._calls} health checks and the like are in progress, as many as this gateway takes")
            self._calls += 1
            places += 1

        try:
            yield admit
        except AvizorError as error:
            end(context, status_of(error))
        finally:
            self._calls -= places

    async def message(self, context: grpc.aio.ServicerContext) -> bytes:
        """Return the next message of a call. Raises MessageTooLarge, GatewayFull, and what Receiver.message raises."""
        message = await (self._received(context) if self._receiving < _ALWAYS else self._received_in_room(context))
        if len(message) > SMALL_BYTES:
            raise MessageTooLarge(f"the message has {len(message)} bytes; those of this service have at most {SMALL_BYTES}")
        return message

    async def _received(self, context: grpc.aio.ServicerContext) -> bytes:
        self._receiving += 1
        try:
            return await self.receiver.message(context)
        finally:
            self._receiving -= 1

    async def _received_in_room(self, context: grpc.aio.ServicerContext) -> bytes:
        await self._messages.take(context.time_remaining())
        message = None
        try:
            message = await self.receiver.message(context)
        finally:
            self._messages.forget(is_received=message is not None)
        return message

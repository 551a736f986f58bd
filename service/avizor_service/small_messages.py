"""Bound health checks and reflection: how many calls there are, and the memory of their messages.

They are let in when the gateway is full, as it has to say so. Their messages are small, but a client may send large ones.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import grpc
from grpc._cython.cygrpc import ExecuteBatchError

from avizor_inference.errors import AvizorError, GatewayFull, MessageTooLarge
from avizor_service.batches import call_ended_early
from avizor_service.message_fields import SMALL_BYTES
from avizor_service.message_memory import MessageMemory
from avizor_service.receiving import Receiver
from avizor_service.status import end, status_of
from avizor_service.transport import GrpcTransport, host_of
from avizor_service.unread import Unread
from avizor_service.whole import ALONE, Whole

# So many messages are received at once, even if there is no room for any.
_ALWAYS = 2

# Seconds in which such a message has to come. It is sent with the headers of its call.
_TIMEOUT_S = 5.0


class SmallMessages:
    """Lets at most `max_calls` of these calls in, and receives their messages.

    messages: where what is received beyond `_ALWAYS` messages at once takes room. unread: ends the connections of clients that
    do not read. timeout_s: longest time to receive a message, up to five seconds.
    """

    def __init__(
        self,
        messages: MessageMemory,
        unread: Unread,
        max_calls: int,
        timeout_s: float = _TIMEOUT_S,
        whole: Whole = ALONE,
    ) -> None:
        self.receiver, self.unread = Receiver(min(timeout_s, _TIMEOUT_S)), unread
        self._messages, self._places = messages, whole.limit("small_calls", max_calls)
        self._receiving = 0

    @contextlib.asynccontextmanager
    async def call(self, context: grpc.aio.ServicerContext) -> AsyncIterator[Callable[[], None]]:
        """Surround a call. Yield what lets it in, and raises GatewayFull if there are too many.

        If the block raises one of Avizor's errors, the call ends with its status. Its place is given back when its client has
        the answer.
        """

        def admit() -> None:
            task = asyncio.current_task()
            assert task is not None, "calls run in tasks"
            if not self._places.take():
                raise GatewayFull(
                    f"{self._places.most} health checks and the like are in progress, as many as this gateway takes"
                )
            task.add_done_callback(leave)

        def leave(_task: object) -> None:
            self._places.give()
            self.unread.discard(context)

        try:
            yield admit
            self.unread.add(context)
        except (asyncio.CancelledError, ExecuteBatchError):
            call_ended_early()
            raise
        except AvizorError as error:
            if context.time_remaining() == 0:  # gRPC has ended it, and can send no status
                call_ended_early()
                raise asyncio.CancelledError from None
            end(context, status_of(error))

    async def message(self, context: grpc.aio.ServicerContext) -> bytes:
        """Return the next message of a call. Raises MessageTooLarge, GatewayFull, and what Receiver.message raises."""
        message = await (self._received(context) if self._receiving < _ALWAYS else self._received_in_room(context))
        if len(message) > SMALL_BYTES:
            raise MessageTooLarge(f"the message has {len(message)} bytes; those of this service have at most {SMALL_BYTES}")
        return message

    async def _received(self, context: grpc.aio.ServicerContext) -> bytes:
        self._receiving += 1
        try:
            return await self.receiver.message(GrpcTransport(context))
        finally:
            self._receiving -= 1

    async def _received_in_room(self, context: grpc.aio.ServicerContext) -> bytes:
        client = host_of(context.peer())
        taken = await self._messages.take(context.time_remaining(), client=client)
        message = None
        try:
            message = await self.receiver.message(GrpcTransport(context))
        finally:
            self._messages.forget(taken, client, is_received=message is not None)
        return message

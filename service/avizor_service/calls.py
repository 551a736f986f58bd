"""Do what every call goes through, whatever it asks for: admission, deadline, metrics, and a status if it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from types import TracebackType
from typing import Protocol

import grpc
from grpc._cython.cygrpc import ExecuteBatchError

from avizor_inference.errors import DeadlineExceeded, GatewayFull
from avizor_service.call_record import REQUEST_ID, CallRecord, begin_record
from avizor_service.callers import Caller, current_caller
from avizor_service.door import Door
from avizor_service.logs.call_log import CallLog
from avizor_service.message_fields import PART_BYTES, SMALL_BYTES, Fields, count_parts
from avizor_service.message_memory import MessageMemory
from avizor_service.metrics import Metrics
from avizor_service.receiving import Receiver
from avizor_service.status import grpc_code, status_of
from avizor_service.throughput import Throughput
from avizor_service.tracing import Tracing
from avizor_service.transport import Transport, host_of
from avizor_service.unread import Unread
from avizor_service.whole import ALONE, Whole

# The model's name is unverified client input until the model is found, so until then it must not become a metric label.
NO_MODEL = ""


@dataclass
class Call:
    """Holds one call in progress. The RPC sets `model` once the model is found; the call is counted under it.

    messages: where its message has room. message_bytes: how much of it message and answer have. places: where it takes a place.
    caller: who makes it. record: what the log says of it.
    """

    rpc: str
    transport: Transport
    messages: MessageMemory
    model: str = NO_MODEL
    message_bytes: int = 0
    receiver: Receiver = field(default_factory=Receiver)
    places: Places | None = None
    has_place: bool = False
    caller: Caller = field(default_factory=current_caller)
    record: CallRecord = field(default_factory=CallRecord)

    @cached_property
    def client(self) -> str:
        """Return who shares the room for messages with others: the name of a token; without one, a host."""
        return self.caller.name or host_of(self.transport.peer())

    def time_remaining_s(self) -> float | None:
        """Return the seconds until the client's deadline, None if it set none."""
        return self.transport.time_remaining()

    def answer(self, message: bytes) -> bytes:
        """Return the answer of a call. It counts until the client has received it. Raises GatewayFull, DeadlineExceeded."""
        self.check_deadline("the answer was there")
        self.hold(len(message))
        return message

    def hold(self, count: int) -> None:
        """Count so many bytes of an answer, until the client has received it. Raises GatewayFull."""
        self.messages.hold(count, self.client)
        self.message_bytes += count

    def is_late(self) -> bool:
        """Return whether the client's deadline has passed."""
        remaining = self.time_remaining_s()
        return remaining is not None and remaining <= 0

    def check_deadline(self, step: str = "the request was read") -> None:
        """Raise DeadlineExceeded if the client does not wait any more: what is done for it now would be in vain.

        step: what was not done in time.
        """
        if self.is_late():
            raise DeadlineExceeded(f"the deadline passed before {step}; allow more time")

    def admit(self) -> None:
        """Take a place. Raises GatewayFull if there is none, DeadlineExceeded if it is late, and what Caller.admit raises."""
        self.check_deadline()
        self.caller.admit()
        if self.places:
            self.places.admit()
            self.has_place = True

    async def message(self, fields: Fields) -> bytes:
        """Receive the only message of a call, in protobuf's wire format. Raises what `receive` and `unpacked_bytes` raise."""
        return await self.receive(partial(self.unpacked_bytes, fields=fields))

    async def receive(
        self, unpacked_bytes: Callable[[bytes], Awaitable[int]], most_bytes: Callable[[int], int] | None = None
    ) -> bytes:
        """Receive the only message of a call. It is not read from the connection before that, and counts until the end.

        unpacked_bytes: returns for how many bytes a message counts. most_bytes: for how many one of a length does at most;
        without it, and while the length is not known, there has to be room for the largest. Raises GatewayFull if there is no
        room, MessageTooLarge, DeadlineExceeded, and what `unpacked_bytes` and Receiver.message raise.
        """
        length = self.transport.length()
        self.messages.check_size(length or 0)
        most = None if length is None or most_bytes is None else most_bytes(length)
        taken = await self.messages.take(self.time_remaining_s(), most, self.client)
        message = size = None
        try:
            message = await self.receiver.message(self.transport)
            size = await unpacked_bytes(message)
        finally:
            if size is None:
                self.messages.forget(taken, self.client, is_received=message is not None)
        self.messages.keep(size, taken, self.client)
        self.message_bytes = size
        self.check_deadline()
        return message

    async def unpacked_bytes(self, message: bytes, fields: Fields) -> int:
        """Return for how many bytes a message counts. It is to be asked before a message is parsed.

        Raises MessageTooLarge, and InvalidInput for one of too many parts.
        """
        size = len(message)
        if size <= SMALL_BYTES:
            return size
        self.messages.check_size(size)
        most = (self.messages.receiving_bytes - size) // PART_BYTES
        return size + PART_BYTES * await count_parts(message, fields, most)


class Places(Protocol):
    """Bounds how many calls of a kind are in progress."""

    def admit(self) -> None:
        """Take a place. Raises GatewayFull."""

    def leave(self, call: Call) -> None:
        """Give the place of a call back."""


class Calls:
    """Wraps each call, unary or streaming, whatever brought it: `async with calls.call(rpc, transport) as call: ...`."""

    def __init__(
        self,
        metrics: Metrics,
        max_in_flight: int,
        messages: MessageMemory | None = None,
        receiver: Receiver | None = None,
        unread: Unread | None = None,
        log: CallLog | None = None,
        whole: Whole = ALONE,
        tracing: Tracing | None = None,
    ) -> None:
        self._metrics, self._places = metrics, whole.limit("in_flight", max_in_flight)
        self._messages = messages or MessageMemory(64, 1024, 2.0, metrics)
        self._receiver = receiver or Receiver()
        self.unread = unread or Unread()
        self._log, self._tracing = log, tracing
        self._calls = calls = Throughput()
        metrics.in_flight.set_function(lambda: calls.in_progress)
        self.door = Door()
        # A look-up by labels takes as long as all else that is done to a metric.
        self._requests, self._duration = cache(metrics.requests.labels), cache(metrics.duration.labels)

    def call(self, rpc: str, transport: Transport, places: Places | None = None) -> _Guard:
        """Return what counts a call, and ends it with a status if the block raises. Its handler then returns as if it had not.

        The block begins with `Call.admit`. places: where the call takes a place; None for the calls in flight.
        """
        record = begin_record(transport.header)
        transport.answer_header(REQUEST_ID, record.request_id)
        call = Call(rpc, transport, self._messages, receiver=self._receiver, places=places or self, record=record)
        record.token = call.caller.name
        if self._tracing:
            self._tracing.begin(rpc, record)
        return _Guard(self, call)

    def idle_s(self) -> float:
        """Return for how many seconds no call has been in progress; 0 while one is."""
        return self._calls.idle_s()

    def admit(self) -> None:
        """Take a place. Raises GatewayFull."""
        if not self._places.take():
            self._metrics.rejected.labels("full").inc()
            raise GatewayFull(
                f"{self._places.most} calls are in progress, as many as this gateway serves at once; try again",
                self._calls.wait_s(),
            )
        self._calls.enter(1)

    def leave(self, call: Call) -> None:
        """Give the place of a call back, and the room of its messages.

        All work for it has ended, also if it was cancelled, and its answer was received.
        """
        if call.message_bytes:
            self._messages.free(call.message_bytes, call.client)
        self._places.give()
        self._calls.leave(1, done=True)

    def count(self, call: Call, code: grpc.StatusCode, seconds: float, message: str) -> None:
        """Count a call that has ended, and write its line in the log. message: of its status."""
        self._requests(call.rpc, call.model, code.name).inc()
        self._duration(call.rpc, call.model).observe(seconds)
        if call.record.trace:
            call.record.trace.end(call.model, code.name, message)
        if self._log:
            self._log.ended(call.record, call.rpc, call.model, code.name, seconds, message)


class _Guard:
    """Surrounds one call. It is a class, since a generator of contextlib takes several times as long.

    No cycle of references may hold a call until the next garbage collection, which holds up all others. `context.abort` and
    `context.add_done_callback` each make one.
    """

    def __init__(self, calls: Calls, call: Call) -> None:
        self._calls, self._call = calls, call
        self._started = time.perf_counter()
        self._is_answered = False

    async def __aenter__(self) -> Call:
        if self._calls.door.is_watched:
            await self._calls.door.enter(self._call.transport.peer())
        task = asyncio.current_task()
        assert task is not None, "each call runs in a task, which ends when the client has the answer"
        task.add_done_callback(self._over)
        return self._call

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> bool:
        del where  # its frames hold the message
        if error is None:
            self._is_answered = True  # the place is given back when the client has the answer
            self._calls.unread.add(self._call.transport)
        else:
            self._leave()
        if error is None:
            self._count(grpc.StatusCode.OK)
        elif isinstance(error, asyncio.CancelledError | ExecuteBatchError):  # the latter: it left while it was written to
            self._call.transport.given_up()
            self._count(self._code_of_cancelled())
        elif isinstance(error, Exception):
            status = status_of(error)
            self._count(grpc_code(status), status.message)
            if self._call.transport.ends_late_calls and self._call.is_late():  # it has ended it, and can send no status
                self._call.transport.given_up()
                raise asyncio.CancelledError from None
            self._call.transport.end(status)
            return True
        return False

    def _over(self, _task: object) -> None:
        self._calls.unread.discard(self._call.transport)
        if self._calls.door.is_watched:
            self._calls.door.leave(self._call.transport.peer())
        if self._is_answered:
            self._leave()

    def _leave(self) -> None:
        if self._call.places and self._call.has_place:
            self._call.places.leave(self._call)

    def _code_of_cancelled(self) -> grpc.StatusCode:
        """Return why a call was cancelled: its deadline has passed, or the client cancelled it or is gone."""
        return grpc.StatusCode.DEADLINE_EXCEEDED if self._call.is_late() else grpc.StatusCode.CANCELLED

    def _count(self, code: grpc.StatusCode, message: str = "") -> None:
        self._calls.count(self._call, code, time.perf_counter() - self._started, message)

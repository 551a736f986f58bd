"""Do what every call goes through, whatever it asks for: admission, deadline, metrics, and a status if it fails."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType

import grpc

from avizor_inference.errors import GatewayFull
from avizor_service.door import Door
from avizor_service.metrics import Metrics
from avizor_service.receiving import Receiver
from avizor_service.status import abort, grpc_code, status_of

# The model's name is unverified client input until the model is found, so until then it must not become a metric label.
NO_MODEL = ""


@dataclass
class Call:
    """Holds one call in progress. The RPC sets `model` once the model is found; the call is counted under it."""

    rpc: str
    context: grpc.aio.ServicerContext
    model: str = NO_MODEL
    receiver: Receiver = field(default_factory=Receiver)

    def time_remaining_s(self) -> float | None:
        """Return the seconds until the client's deadline, None if it set none."""
        remaining: float | None = self.context.time_remaining()
        return remaining

    async def message(self) -> bytes:
        """Receive the only message of a call. Raises what Receiver.message raises."""
        return await self.receiver.message(self.context)


class Calls:
    """Wraps each call of each servicer, unary or streaming: `async with calls.call(rpc, context) as call: ...`."""

    def __init__(self, metrics: Metrics, max_in_flight: int, receiver: Receiver | None = None) -> None:
        self._metrics, self._max_in_flight, self._receiver = metrics, max_in_flight, receiver or Receiver()
        self.door = Door()
        self._in_flight = 0
        # A look-up by labels takes as long as all else that is done to a metric.
        self._requests, self._duration = cache(metrics.requests.labels), cache(metrics.duration.labels)

    def call(self, rpc: str, context: grpc.aio.ServicerContext) -> _Guard:
        """Admit a call, count it, and end it with a status if the block raises. A full gateway ends it at once."""
        return _Guard(self, Call(rpc, context, receiver=self._receiver))

    def admit(self) -> None:
        """Take a place. Raises GatewayFull."""
        if self._in_flight >= self._max_in_flight:
            self._metrics.rejected.labels("full").inc()
            raise GatewayFull(f"{self._in_flight} calls are in progress, as many as this gateway serves at once; try again")
        self._in_flight += 1
        self._metrics.in_flight.inc()

    def leave(self) -> None:
        """Give the place back."""
        self._in_flight -= 1
        self._metrics.in_flight.dec()

    def count(self, call: Call, code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that has ended."""
        self._requests(call.rpc, call.model, code.name).inc()
        self._duration(call.rpc, call.model).observe(seconds)


class _Guard:
    """Surrounds one call. It is a class, since a generator of contextlib takes several times as long."""

    def __init__(self, calls: Calls, call: Call) -> None:
        self._calls, self._call = calls, call
        self._started = time.perf_counter()

    async def __aenter__(self) -> Call:
        if self._calls.door.closed:
            await self._calls.door.wait()
        try:
            self._calls.admit()
        except Exception as error:
            await self._fail(error)
        return self._call

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self._calls.leave()
        if error is None:
            self._count(grpc.StatusCode.OK)
        elif isinstance(error, Exception):
            await self._fail(error)
        elif isinstance(error, asyncio.CancelledError):
            self._count(grpc.StatusCode.CANCELLED)

    async def _fail(self, error: Exception) -> None:
        """End the call with the status of an error, and count it. Does not return: gRPC raises AbortError."""
        status = status_of(error)
        self._count(grpc_code(status))
        await abort(self._call.context, status)

    def _count(self, code: grpc.StatusCode) -> None:
        self._calls.count(self._call, code, time.perf_counter() - self._started)

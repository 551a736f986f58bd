"""Do what every call goes through, whatever it asks for: admission, deadline, metrics, and a status if it fails."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import grpc

from avizor_inference.errors import GatewayFull
from avizor_service.metrics import Metrics
from avizor_service.status import abort, grpc_code, status_of

# The model's name is unverified client input until the model is found, so until then it must not become a metric label.
NO_MODEL = ""


@dataclass
class Call:
    """Holds one call in progress. The RPC sets `model` once the model is found; the call is counted under it."""

    rpc: str
    context: grpc.aio.ServicerContext
    model: str = NO_MODEL

    def time_remaining_s(self) -> float | None:
        """Return the seconds until the client's deadline, None if it set none."""
        remaining: float | None = self.context.time_remaining()
        return remaining


class Calls:
    """Wraps each call of each servicer, unary or streaming: `async with calls.call(rpc, context) as call: ...`."""

    def __init__(self, metrics: Metrics, max_in_flight: int) -> None:
        self._metrics, self._max_in_flight = metrics, max_in_flight
        self._in_flight = 0

    @contextlib.asynccontextmanager
    async def call(
        self, rpc: str, context: grpc.aio.ServicerContext, admission: contextlib.AbstractContextManager[None] | None = None
    ) -> AsyncIterator[Call]:
        """Admit a call, count it, and end it with a status if the block raises. A full gateway ends it at once.

        admission: what is entered for as long as the call takes; None for the limit of calls in flight.
        """
        call, started, code = Call(rpc, context), time.perf_counter(), grpc.StatusCode.OK
        try:
            with admission or self._admitted():
                yield call
        except Exception as error:
            status = status_of(error)
            code = grpc_code(status)
            await abort(context, status)
            raise  # abort does not return
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            self._metrics.requests.labels(rpc, call.model, code.name).inc()
            self._metrics.duration.labels(rpc, call.model).observe(time.perf_counter() - started)

    @contextlib.contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._in_flight >= self._max_in_flight:
            self._metrics.rejected.labels("full").inc()
            raise GatewayFull(f"{self._in_flight} calls are in progress, as many as this gateway serves at once; try again")
        self._in_flight += 1
        self._metrics.in_flight.inc()
        try:
            yield
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.dec()

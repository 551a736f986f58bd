"""Answer health checks: `grpc.health.v1.Health`, whose watches end when the gateway stops.

grpcio-health-checking has a servicer too. Its watches never end, so each holds up a shutdown; and when one of two watches of a
service ends, the other hears of no more changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from avizor_inference.errors import GatewayStopping, InvalidInput
from avizor_service.small_messages import SmallMessages
from avizor_service.status import send_status

SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_Response = health_pb2.HealthCheckResponse


class HealthService:
    """Says of the named services, all alike, whether they serve. It starts with NOT_SERVING."""

    def __init__(self, services: Iterable[str], messages: SmallMessages) -> None:
        self._services, self._messages = frozenset(services), messages
        self._serving, self._stopping, self._ended = False, False, False
        self._changed = asyncio.Event()  # set, and followed by another one, at each change

    @property
    def is_serving(self) -> bool:
        """Return whether the services serve."""
        return self._serving and not self._stopping

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return what answers `Check` and `Watch`."""
        methods = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def serving(self, serving: bool) -> None:
        """Say from now on whether the services serve. After `not_ready` they never do."""
        self._serving = serving
        self._tell()

    def not_ready(self) -> None:
        """Say from now on, whatever happens, that nothing is served."""
        self._stopping = True
        self._tell()

    def end_watches(self) -> None:
        """End all watches with UNAVAILABLE, those that are begun later too."""
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _status(self, service: str) -> int:
        if service not in self._services:
            return int(_Response.SERVICE_UNKNOWN)
        return int(_Response.SERVING if self.is_serving else _Response.NOT_SERVING)

    async def _check(self, _requests: object, context: grpc.aio.ServicerContext) -> bytes | None:
        async with self._messages.call(context) as admit:
            admit()
            service = await self._service(context)
            status = self._status(service)
            if status == _Response.SERVICE_UNKNOWN:
                context.set_code(grpc.StatusCode.NOT_FOUND)
                context.set_details(f"there is no service {service[:100]!r} here")
            return _sent(status)
        await send_status(context)
        return None

    async def _watch(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        async with self._messages.call(context) as admit:
            admit()
            service = await self._service(context)
            told: int | None = None
            while True:
                changed, status = self._changed, self._status(service)
                if status != told:
                    await self._messages.unread.write(context, _sent(status))
                    told = status
                if self._ended:
                    raise GatewayStopping("the gateway is shutting down; watch again")
                await changed.wait()

    async def _service(self, context: grpc.aio.ServicerContext) -> str:
        """Receive a request, and return the service that it names. Raises what SmallMessages.message raises, InvalidInput."""
        message = await self._messages.message(context)
        try:
            return str(health_pb2.HealthCheckRequest.FromString(message).service)
        except DecodeError as error:
            raise InvalidInput("the message is not a HealthCheckRequest; send one") from error


def _sent(status: int) -> bytes:
    """Return a response as it is sent."""
    message: bytes = _Response(status=status).SerializeToString()
    return message

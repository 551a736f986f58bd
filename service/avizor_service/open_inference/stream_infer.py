"""Answer ModelStreamInfer: run the requests of a stream, and answer them in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from avizor_inference.errors import GatewayStopping, Unauthenticated
from avizor_service.calls import Call
from avizor_service.gateway import Gateway
from avizor_service.message_fields import Fields
from avizor_service.open_inference.grpc_messages import answer_bytes, stream_answer, stream_error, tensor_request
from avizor_service.open_inference.infer import infer
from avizor_service.rpc_steps import parsed
from avizor_service.status import status_of

# Requests of one stream that run at once, as long as their messages have at most so many bytes. Larger ones run one by one: the
# memory of a stream is bounded by its largest message.
_AT_ONCE, _TOGETHER_BYTES = 16, 1 << 18

_FIELDS = Fields(pb.ModelInferRequest.DESCRIPTOR)


async def stream_infer(gateway: Gateway, messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
    """Yield a serialised ModelStreamInferResponse for each request of a stream, in their order.

    A request that fails is answered with its error, and the stream goes on. Raises what `messages` raises.
    """
    running: deque[tuple[asyncio.Task[bytes], int]] = deque()
    reading: asyncio.Future[bytes | None] | None = None
    ended = False
    try:
        while running or not ended:
            may_read = not ended and len(running) < _AT_ONCE and sum(size for _, size in running) <= _TOGETHER_BYTES
            if may_read and reading is None:
                reading = asyncio.ensure_future(anext(messages, None))
            waiting: set[asyncio.Future[Any]] = {running[0][0]} if running else set()
            await asyncio.wait(waiting | ({reading} if reading else set()), return_when=asyncio.FIRST_COMPLETED)
            if reading and reading.done():
                message, reading = reading.result(), None
                if message is None:
                    ended = True
                else:
                    running.append((asyncio.create_task(_answer(gateway, message, call)), len(message)))
                del message
            while running and running[0][0].done():
                yield running.popleft()[0].result()
    finally:
        left = [task for task, _ in running] + ([reading] if reading else [])
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _answer(gateway: Gateway, message: bytes, call: Call) -> bytes:
    """Return the response to one request. Raises what ends the stream: the gateway stops, or the token no longer counts."""
    request: Any = None
    try:
        call.caller.admit()
        await call.unpacked_bytes(message, _FIELDS)
        request = parsed(pb.ModelInferRequest, message)
        del message
        answer = await infer(gateway, tensor_request(request), call)
        return stream_answer(answer_bytes(answer, request.id, final=True))
    except (GatewayStopping, Unauthenticated):
        raise
    except Exception as error:
        return stream_error(status_of(error).message, "" if request is None else request.id)

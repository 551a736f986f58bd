"""small_messages.py: health checks and reflection are bounded, through a real server on a real connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from avizor_service.health_service import SERVICE, HealthService
from avizor_service.message_memory import MessageMemory
from avizor_service.metrics import Metrics
from avizor_service.reflection import SERVICE_NAME, serve_reflection
from avizor_service.small_messages import SmallMessages
from avizor_service.unread import Unread

CHECK, WATCH = f"/{SERVICE}/Check", f"/{SERVICE}/Watch"
REFLECT = f"/{SERVICE_NAME}/ServerReflectionInfo"
LIST = reflection_pb2.ServerReflectionRequest(list_services="*").SerializeToString()
MIB = 1 << 20


@contextlib.asynccontextmanager
async def served(max_calls: int = 8, timeout_s: float = 5.0) -> AsyncIterator[grpc.aio.Channel]:
    memory = MessageMemory(max_mib=1, all_mib=2, max_wait_s=0.1, metrics=Metrics())  # room for one message
    small = SmallMessages(memory, Unread(), max_calls, timeout_s)
    health = HealthService([""], small)
    health.serving(True)
    server = grpc.aio.server(options=[("grpc.http2.lookahead_bytes", 1 << 14), ("grpc.http2.bdp_probe", 0)])
    server.add_generic_rpc_handlers([health.handlers()])
    serve_reflection([SERVICE], server, small)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    late = asyncio.create_task(small.receiver.end_late())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    late.cancel()
    await server.stop(0)


async def refusal(call: grpc.aio.Call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def waits(channel: grpc.aio.Channel, path: str) -> grpc.aio.Call:
    """Begin a call that never sends its message."""

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    call = channel.stream_unary(path)(nothing())
    await asyncio.sleep(0.1)
    return call


def test_a_large_message_is_refused_before_it_is_parsed() -> None:
    async def run() -> list[tuple[grpc.StatusCode, str]]:
        async with served() as channel:
            large = health_pb2.HealthCheckRequest(service="a" * 9000).SerializeToString()
            reflect = channel.stream_stream(REFLECT)(iter([large]))
            return [await refusal(channel.unary_unary(CHECK)(large)), await refusal(reflect.read())]

    for code, details in asyncio.run(run()):
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "at most 8192" in details


def test_calls_are_bounded_in_number_and_their_places_come_back() -> None:
    async def run() -> tuple[grpc.StatusCode, str]:
        async with served(max_calls=2) as channel:
            watches = [channel.unary_stream(WATCH)(b"") for _ in range(2)]
            for watch in watches:
                await watch.read()
            refused = await refusal(channel.unary_unary(CHECK)(b""))
            watches[0].cancel()
            await asyncio.sleep(0.1)
            await channel.unary_unary(CHECK)(b"")
            return refused

    code, details = asyncio.run(run())
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "2 health checks and the like" in details


def test_messages_that_do_not_come_take_no_more_room_than_there_is_and_not_for_long() -> None:
    async def run() -> tuple[grpc.StatusCode, str]:
        async with served(timeout_s=0.5) as channel:
            late = [await waits(channel, path) for path in (CHECK, WATCH, CHECK)]  # two may always, one has room
            refused = await refusal(channel.unary_unary(CHECK)(b""))
            for call in late:
                assert (await refusal(call))[0] is grpc.StatusCode.INVALID_ARGUMENT
            await channel.unary_unary(CHECK)(b"")
            return refused

    assert asyncio.run(run())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_reflection_answers_until_nothing_more_is_asked() -> None:
    async def run() -> list[bytes]:
        async with served(timeout_s=0.3) as channel:
            call = channel.stream_stream(REFLECT)()
            answers = []
            for _ in range(2):
                await call.write(LIST)
                answers.append(await call.read())
            assert await call.read() is grpc.aio.EOF  # it asks nothing more, and does not say so
            return answers

    for answer in asyncio.run(run()):
        names = reflection_pb2.ServerReflectionResponse.FromString(answer).list_services_response.service
        assert SERVICE_NAME in {each.name for each in names}

"""Clients that try to take all the memory of a gateway, each kind in its own way."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import numpy as np
import soundfile
from grpc_health.v1 import health_pb2
from integration.gateway import png
from integration.listeners import start

from avizor.v1 import inference_pb2 as pb

SERVICE = "/avizor.v1.InferenceService/"
CLASSIFY, RECONSTRUCT, MONITOR = SERVICE + "Classify", SERVICE + "Reconstruct", SERVICE + "Monitor"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
MIB = 1 << 20

# Over a connection of its own. It takes in little that nobody reads.
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.http2.lookahead_bytes", 1 << 14),
    ("grpc.http2.bdp_probe", 0),
]

# Calls again and again over one connection, each time returning a call.
Client = Callable[[grpc.aio.Channel], Awaitable[object]]


def pictures(size: int) -> bytes:
    """Return a request of nearly so many bytes that takes long to decode."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 128, 128)).astype(np.uint8)
    both = [png(each) for each in noise]
    count = size // len(both[0]) - 2
    return pb.ClassifyRequest(model="digits", items=[pb.Item(image=both[n % 2]) for n in range(count)]).SerializeToString()


def nested(size: int) -> bytes:
    """Return a request of so many bytes that unpacks to 66 times of them, and then takes long to decode."""
    slow = pb.ClassifyRequest(model="digits", items=[pb.Item(image=png(np.zeros((1000, 1000), np.uint8)))]).SerializeToString()
    entries = b"\x0a\x02\x78\x01" * ((size - len(slow) - 16) // 4)  # entries of a row with a field that nobody knows
    return slow + field(3, field(5, entries))


def field(number: int, content: bytes) -> bytes:
    """Return a field of bytes in the wire format of protobuf."""
    size, head = len(content), bytes([number << 3 | 2])
    while size > 127:
        head, size = head + bytes([size & 127 | 128]), size >> 7
    return head + bytes([size]) + content


def silence(model: str, seconds: float, items: int = 1) -> bytes:
    """Return a small request that decodes to much."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(int(seconds * 16_000), np.int16), 16_000, format="FLAC")
    item = pb.Item(audio=buffer.getvalue())
    return pb.ReconstructRequest(model=model, items=[item] * items).SerializeToString()


def unary(path: str, message: bytes, seconds: float = 20, compression: grpc.Compression | None = None) -> Client:
    return lambda channel: channel.unary_unary(path)(message, timeout=seconds, compression=compression)


def half(path: str, size: int) -> Client:
    """Return a client whose message of so many bytes comes, and whose call does not end."""

    async def messages() -> AsyncIterator[bytes]:
        yield bytes(size)
        await asyncio.sleep(60)

    return lambda channel: channel.stream_unary(path)(messages(), timeout=0.5)


def unread(path: str, message: bytes, calls: int) -> Client:
    """Return a client that asks and never reads the answers."""

    async def ask(channel: grpc.aio.Channel) -> None:
        asked = [channel.unary_stream(path)(message, timeout=60) for _ in range(calls)]
        await asyncio.sleep(60)
        del asked

    return ask


def talk(size: int) -> Client:
    """Return a client that sends sound in the largest messages, and reads nothing."""
    sound = pb.MonitorRequest(pcm=bytes(size - 16)).SerializeToString()

    async def messages() -> AsyncIterator[bytes]:
        yield start(classifier="kinds", sample_rate=48_000).SerializeToString()
        for _ in range(50):
            yield sound

    async def listen(channel: grpc.aio.Channel) -> None:
        call = channel.stream_stream(MONITOR)(messages(), timeout=60)
        await asyncio.sleep(60)
        call.cancel()

    return listen


def watch(calls: int) -> Client:
    """Return a client that watches the health many times over."""

    async def listen(channel: grpc.aio.Channel) -> None:
        request = health_pb2.HealthCheckRequest().SerializeToString()
        watches = [channel.unary_stream(WATCH)(request) for _ in range(calls)]
        for each in watches:
            await each.read()
        await asyncio.sleep(60)

    return listen


def attack(
    address: str, clients: list[Client], seconds: float, look: Callable[[], dict[str, float]]
) -> tuple[Counter[str], dict[str, float]]:
    """Let all clients call for some time, each over its own connection.

    Return how many calls ended with each code, and what `look` returns while they are at work.
    """
    return asyncio.run(_attack(address, clients, seconds, look))


async def _attack(
    address: str, clients: list[Client], seconds: float, look: Callable[[], dict[str, float]]
) -> tuple[Counter[str], dict[str, float]]:
    codes: Counter[str] = Counter()

    async def again_and_again(channel: grpc.aio.Channel, client: Client) -> None:
        while True:
            try:
                await client(channel)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1

    async with _channels(address, len(clients)) as channels:
        calling = [asyncio.create_task(again_and_again(*each)) for each in zip(channels, clients, strict=True)]
        await asyncio.wait(calling, timeout=seconds)
        seen = await asyncio.to_thread(look)
        for task in calling:
            task.cancel()
        await asyncio.gather(*calling, return_exceptions=True)
    return codes, seen


@asynccontextmanager
async def _channels(address: str, count: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    channels = [grpc.aio.insecure_channel(address, _OPTIONS) for _ in range(count)]
    yield channels
    await asyncio.gather(*(channel.close() for channel in channels))


def turns(*kinds: Client, count: int) -> list[Client]:
    """Return so many clients, of all kinds in turn."""
    return [kinds[number % len(kinds)] for number in range(count)]

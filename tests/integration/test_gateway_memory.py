"""The memory of a gateway has a ceiling (docs/limits.md): a real process, driven to its worst case by many clients."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from integration.gateway import gateway, png

from avizor.v1 import inference_pb2 as pb

CLASSIFY = "/avizor.v1.InferenceService/Classify"
MIB = 1 << 20

# Limits of the gateway that is driven, and what docs/limits.md says it may need.
MESSAGE_MIB, REQUESTS_MIB, CALLS, CONNECTIONS = 4, 32, 24, 16
CEILING_MIB = 2 * REQUESTS_MIB + 8 * MESSAGE_MIB + CONNECTIONS / 4 + CALLS / 4 + 256 + 32


class Peak:
    """Watches the memory of a process from a thread."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.idle = self.highest = self.now()

    def now(self) -> int:
        return int(self._process.memory_info().rss)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        end = threading.Event()

        def watch() -> None:
            while not end.wait(0.005):
                self.highest = max(self.highest, self.now())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    @property
    def growth_mib(self) -> float:
        return (self.highest - self.idle) / MIB


def large_request() -> bytes:
    """Return a request of nearly the largest size: pictures that take long to decode."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 128, 128)).astype(np.uint8)
    pictures = [png(each) for each in noise]
    count = MESSAGE_MIB * MIB // len(pictures[0]) - 2
    return pb.ClassifyRequest(model="digits", items=[pb.Item(image=pictures[n % 2]) for n in range(count)]).SerializeToString()


async def attack(address: str, seconds: float) -> dict[str, int]:
    """Send, over all connections, all that may come; return how many calls ended with each code."""
    codes: dict[str, int] = {}
    large = large_request()
    until = asyncio.get_running_loop().time() + seconds
    bomb = bytes(16 * MESSAGE_MIB * MIB)  # 64 kB when it is compressed

    async def never_ends() -> AsyncIterator[bytes]:
        yield bytes((MESSAGE_MIB + 1) * MIB - 16)
        await asyncio.sleep(seconds)

    def call(channel: grpc.aio.Channel, kind: int) -> grpc.aio.Call:
        if kind == 0:  # it takes long to decode
            return channel.unary_unary(CLASSIFY)(large, timeout=seconds)
        if kind == 1:
            return channel.unary_unary(CLASSIFY)(bomb, timeout=seconds, compression=grpc.Compression.Gzip)
        if kind == 2:  # more than gRPC receives
            return channel.unary_unary(CLASSIFY)(bomb, timeout=seconds)
        if kind in (3, 4):  # more than the limit
            return channel.unary_unary(CLASSIFY)(bomb[: (MESSAGE_MIB + 1) * MIB - 16], timeout=seconds)
        return channel.stream_unary(CLASSIFY)(never_ends(), timeout=0.5)

    async def send(channel: grpc.aio.Channel, kind: int) -> None:
        while asyncio.get_running_loop().time() < until:
            try:
                await call(channel, kind)
                code = "OK"
            except grpc.aio.AioRpcError as error:
                code = error.code().name
            codes[code] = codes.get(code, 0) + 1

    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(send(channel, (place + 3 * turn) % 6) for place, channel in enumerate(channels) for turn in (0, 1)))
    for channel in channels:
        await channel.close()
    return codes


@pytest.mark.slow
def test_memory_stays_below_its_ceiling_whatever_is_sent(models: Path) -> None:
    options = {
        "--max-message-mib": MESSAGE_MIB,
        "--max-request-mib-in-flight": REQUESTS_MIB,
        "--max-in-flight": CALLS,
        "--max-connections": CONNECTIONS + 1,
        "--decoders": 1,
    }
    with gateway(models, "--alpha", 0.05, *(part for option in options.items() for part in option)) as running:
        with grpc.insecure_channel(running.address) as channel:
            channel.unary_unary(CLASSIFY)(large_request(), timeout=60)  # what is done once is idle memory
        peak = Peak(running.process.pid)
        with peak.watched():
            codes = asyncio.run(attack(running.address, 6))
        print(peak.idle / MIB, peak.growth_mib, CEILING_MIB, codes)
        assert codes["OK"] > 0
        assert codes["RESOURCE_EXHAUSTED"] > 0
        assert peak.growth_mib < CEILING_MIB

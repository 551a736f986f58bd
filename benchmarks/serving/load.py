"""Send one request again and again, from several callers at once, and print what came back as JSON.

    python load.py ADDRESS METHOD REQUEST_FILE CALLERS SECONDS [--connections N] [--certificate FILE] [--metadata KEY=VALUE]

ADDRESS: HOST:PORT of gRPC, or a URL; METHOD is then its path, and each caller has a connection.

It runs in a separate process, so that its CPU time does not count as that of the server. Requests and answers stay bytes: a
client that builds and parses messages would take the cores from the server that is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import grpc

Ask = Callable[[bytes], Awaitable[object]]

WARM_UP_S = 1.0


async def main() -> None:
    """Send requests for the given time after a warm-up; print {requests, seconds, errors, latencies}."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("method")
    parser.add_argument("request", type=Path)
    parser.add_argument("callers", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--metadata", action="append", default=[])
    options = parser.parse_args()
    over = _over_http if options.address.startswith("http") else _over_grpc
    async with over(options) as calls:
        payload = options.request.read_bytes()
        for call in calls:
            async with asyncio.timeout(60):
                await call(payload)  # the first call may open the model
        begin = time.perf_counter() + WARM_UP_S
        end = begin + options.seconds
        latencies: list[float] = []
        errors: list[str] = []

        async def ask(call: Ask) -> None:
            while (started := time.perf_counter()) < end:
                try:
                    await call(payload)
                except (grpc.aio.AioRpcError, aiohttp.ClientError) as error:
                    errors.append(str(error))
                    continue
                if started >= begin:
                    latencies.append(time.perf_counter() - started)

        await asyncio.gather(*(ask(calls[number % len(calls)]) for number in range(options.callers)))
    print(json.dumps({"seconds": options.seconds, "latencies": latencies, "errors": errors[:3], "failed": len(errors)}))


@contextlib.asynccontextmanager
async def _over_grpc(options: argparse.Namespace) -> AsyncIterator[Sequence[Ask]]:
    """Yield what sends a request, for each connection."""
    metadata = [tuple(each.split("=", 1)) for each in options.metadata]
    async with contextlib.AsyncExitStack() as stack:
        calls = []
        for _ in range(options.connections):
            channel = await stack.enter_async_context(_channel(options.address, options.certificate))
            await channel.channel_ready()
            calls.append(functools.partial(channel.unary_unary(options.method), metadata=metadata))
        yield calls


@contextlib.asynccontextmanager
async def _over_http(options: argparse.Namespace) -> AsyncIterator[Sequence[Ask]]:
    """Yield what sends a request."""
    headers = dict(each.split("=", 1) for each in options.metadata)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def call(payload: bytes) -> bytes:
            async with session.post(options.address + options.method, data=payload, raise_for_status=True) as answer:
                return await answer.read()

        yield [call]


def _channel(address: str, certificate: Path | None) -> grpc.aio.Channel:
    settings = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    if certificate is None:
        return grpc.aio.insecure_channel(address, settings)
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    return grpc.aio.secure_channel(address, credentials, [*settings, ("grpc.ssl_target_name_override", "localhost")])


if __name__ == "__main__":
    asyncio.run(main())

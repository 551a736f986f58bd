"""A network between client and server on which everything takes a while, as between continents."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def far_network(port: int, seconds: float, bytes_per_s: float = float("inf")) -> Iterator[int]:
    """Yield a port of this machine that leads to another one.

    seconds: for which each byte is on its way, in each direction. bytes_per_s: how many get on their way, of each connection.
    """
    loop = asyncio.new_event_loop()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        on_their_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(deliver(on_their_way, writer))
        sent_at = 0.0
        try:
            while data := await reader.read(1 << 16):
                sent_at = max(sent_at, loop.time()) + len(data) / bytes_per_s
                on_their_way.put_nowait((sent_at + seconds, data))
                await asyncio.sleep(sent_at - loop.time())
        except ConnectionError:
            pass
        on_their_way.put_nowait((loop.time() + seconds, b""))
        await delivery

    async def deliver(on_their_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            at, data = await on_their_way.get()
            await asyncio.sleep(at - loop.time())
            if not data:
                writer.close()
                return
            writer.write(data)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            writer.close()
            return
        await asyncio.gather(carry(reader, other_writer), carry(other_reader, writer))

    server = loop.run_until_complete(asyncio.start_server(connect, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

"""Start, ask and end one decoder process, from the gateway's event loop. Nothing here waits for the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys

from avizor_inference.errors import DecoderEnded
from avizor_inference.items.decode import Item
from avizor_inference.stop_signals import signals_blocked
from avizor_service.decoders import messages
from avizor_service.decoders.messages import Answer, Request

# Bytes that may wait in the socket, in each direction: an item of usual size is written at once.
_SOCKET_BYTES = 2**20

# Each decoder computes in one thread, and the libraries of linear algebra allocate memory for each of theirs.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# Seconds until an ended process has an exit code.
_EXIT_S = 1.0


class DecoderProcess:
    """Holds one process. It starts at once, and is ready after about half a second. Raises OSError if it cannot start."""

    def __init__(self, memory_mib: int) -> None:
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "avizor_service.decoders.worker", str(os.getpid()), str(memory_mib)]
        try:
            for end in (self._socket, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
            with signals_blocked():
                self._process = subprocess.Popen(
                    command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env={**os.environ, **_ONE_THREAD}
                )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        self._socket.setblocking(False)
        self.is_ready = False  # whether it takes requests
        self.is_killed = False  # by the gateway

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Return whether the process lives, and was not told to end."""
        return not self.is_killed and self._process.poll() is None

    async def ready(self) -> None:
        """Wait until it takes requests. Raises DecoderEnded."""
        if not self.is_ready:
            await self._read(memoryview(bytearray(1)))
            self.is_ready = True

    async def decode(self, request: Request) -> Item:
        """Return a decoded item. Raises what decode_item raises; DecoderEnded.

        Whoever cancels this has to kill the process: half a request would be left in the socket.
        """
        loop = asyncio.get_running_loop()
        try:
            for part in messages.joined(messages.pack_request(request)):
                await loop.sock_sendall(self._socket, part)
        except OSError as error:
            raise await self.gone() from error
        try:
            answer = await self._answer(request)
        except Exception:  # what may still come of this answer would be taken for that to the next request
            self._end()
            raise
        try:
            return answer.item()
        except DecoderEnded:  # it gave no valid answer
            self._end()
            raise

    def kill(self) -> None:
        """End the process now, whatever it does."""
        self.is_killed = True
        self._process.kill()

    def _end(self) -> None:
        """End the process unless it has ended by itself, which is not the gateway's doing."""
        if self._process.poll() is None:
            self.kill()

    async def gone(self) -> DecoderEnded:
        """Return how the process ended, after its end."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _EXIT_S
        while (code := self._process.poll()) is None and loop.time() < until:
            await asyncio.sleep(0.005)
        if code is None:
            self.kill()
            return DecoderEnded("it closed its connection")
        if code == messages.OUT_OF_MEMORY:
            return DecoderEnded("it ran out of memory")
        return DecoderEnded(_name_of(-code), -code) if code < 0 else DecoderEnded(f"exit code {code}")

    def close(self) -> None:
        """End the process, and wait until it has left the system."""
        self.kill()
        self._process.wait()
        self._socket.close()

    async def _answer(self, request: Request) -> Answer:
        """Read an answer. The first read usually gets all of it but the rows."""
        start, there = bytearray(messages.MOST_HEAD_BYTES), 0
        view = memoryview(start)

        async def at_least(wanted: int) -> None:
            nonlocal there
            while there < wanted:
                there += await self._read_some(view[there:])

        await at_least(messages.PREFIX.size)
        head_bytes, body_bytes = messages.PREFIX.unpack_from(start)
        body = messages.PREFIX.size + head_bytes
        if body > len(start):
            raise DecoderEnded("its answer has a head that is too long")
        await at_least(body)
        answer = Answer(request, bytes(view[messages.PREFIX.size : body]), body_bytes)
        for buffer in answer.buffers():
            count = min(there - body, len(buffer))
            buffer[:count] = view[body : body + count]
            body += count
            await self._read(buffer[count:])
        return answer

    async def _read(self, buffer: memoryview) -> None:
        """Fill a buffer. Raises DecoderEnded."""
        while buffer:
            buffer = buffer[await self._read_some(buffer) :]

    async def _read_some(self, buffer: memoryview) -> int:
        try:
            count = await asyncio.get_running_loop().sock_recv_into(self._socket, buffer)
        except OSError as error:
            raise await self.gone() from error
        if count == 0:
            raise await self.gone()
        return count


def _name_of(number: int) -> str:
    """Return the name of a signal. Some have none."""
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"

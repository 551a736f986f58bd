"""Hold a place for one decoder process, and fill it again when the process has ended."""

from __future__ import annotations

import asyncio

from avizor_inference.errors import DecoderEnded
from avizor_inference.items.decode import Item
from avizor_service.decoders.messages import Request
from avizor_service.decoders.process import DecoderProcess

# Seconds after which a process that is not ready will not be: it loads a few libraries.
_START_S = 60.0

# How often one is started that something kills before it is ready.
_MOST_STARTS = 3


class DecoderSlot:
    """Holds at most one process, which may use memory_mib MiB for an item."""

    def __init__(self, memory_mib: int) -> None:
        self._memory_mib = memory_mib
        self._process: DecoderProcess | None = None

    @property
    def pid(self) -> int | None:
        """Return the number of the process; None if there is none."""
        return self._process.pid if self._process and self._process.is_usable else None

    @property
    def is_ready(self) -> bool:
        """Return whether there is a process that takes requests."""
        return self._process is not None and self._process.is_ready and self._process.is_usable

    @property
    def is_killed(self) -> bool:
        """Return whether the gateway itself ended the process."""
        return self._process is not None and self._process.is_killed

    def start(self) -> None:
        """Start a process if there is none. Raises OSError."""
        if self._process is None or not self._process.is_usable:
            self.close()
            self._process = DecoderProcess(self._memory_mib)

    async def ready(self) -> None:
        """Wait until there is a process that takes requests. Raises DecoderEnded, OSError.

        One that something else kills before it is ready is started again; one that `kill` ends is not wanted any more.
        """
        starts = 0
        while not self.is_ready:
            starts += 1
            try:
                await self._started()
            except DecoderEnded as error:
                if self.is_killed or not error.by_signal or starts == _MOST_STARTS:
                    raise

    async def _started(self) -> None:
        self.start()
        assert self._process is not None  # it was started
        try:
            async with asyncio.timeout(_START_S):
                await self._process.ready()
        except TimeoutError as error:
            await self.end()
            raise DecoderEnded(f"not ready after {_START_S:g} s") from error

    async def decode(self, request: Request) -> Item:
        """Return a decoded item. See DecoderProcess.decode."""
        assert self._process is not None  # it is ready
        return await self._process.decode(request)

    def kill(self) -> None:
        """End the process now, whatever it does."""
        if self._process:
            self._process.kill()

    async def end(self) -> None:
        """End the process, and wait until it has ended."""
        if self._process:
            self._process.kill()
            await self._process.gone()

    def close(self) -> None:
        """End the process, and wait until it has left the system. It is for one that has nothing to do, or has ended."""
        if self._process:
            self._process.close()
            self._process = None

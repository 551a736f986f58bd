"""Decode media in a fixed number of processes with limits of time and memory. One that exceeds them is ended and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import resource
import signal
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from avizor_inference.errors import DeadlineExceeded, DecoderEnded, GatewayFull, MediaError, SettingsError
from avizor_inference.items.decode import Item
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.base import Content
from avizor_service.decoders.messages import Limits, Request
from avizor_service.decoders.slot import DecoderSlot
from avizor_service.metrics import Metrics
from avizor_service.settings import Settings
from avizor_service.throughput import Throughput, wait_problem

# Seconds that a decoder gets to finish an item that nobody waits for any more: starting another one would cost more.
_FORSAKEN_S = 1.0

_MOST_BYTES = 2**63  # no limit


class MediaDecoders:
    """Decodes items in the order in which they are asked for. The processes start with `launch`, or with the first items.

    It may be used in one event loop after the other.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.count, self.max_windows = settings.decoders, settings.max_windows
        self._limit_s, self._max_wait_s = settings.decode_timeout_s, settings.max_wait_s
        self._ended, self._rejected = metrics.decoders_ended, metrics.rejected
        metrics.decoder_memory.set_function(lambda: sum(map(resident_bytes, self.pids())))
        self._slots = tuple(DecoderSlot(settings.decoder_memory_mib) for _ in range(self.count))
        self._throughputs = {
            slot: Throughput() for slot in self._slots
        }  # of each alone: time in which it is idle does not count
        self._idle = deque(self._slots)
        self._waiting: deque[asyncio.Future[DecoderSlot]] = deque()
        self._running: set[asyncio.Task[Item]] = set()
        self._is_closed = False

    def launch(self) -> None:
        """Start all processes. Raises SettingsError."""
        try:
            for slot in self._slots:
                slot.start()
        except OSError as error:
            raise _not_started(error) from error

    async def ready(self) -> None:
        """Wait until all processes take items. Raises SettingsError."""
        try:
            await asyncio.gather(*(slot.ready() for slot in self._slots))
        except (DecoderEnded, OSError) as error:
            raise _not_started(error) from error

    def admit(self, items: int, time_remaining_s: float | None) -> None:
        """Raise GatewayFull if a call of so many items would wait too long for a decoder, or would be late with its last one.

        A call that finds a free decoder is let in.
        """
        if self._idle or (per_s := self._items_per_s()) is None:
            return
        before = len(self._waiting) + len(self._running)
        wait_s, done_s = (count / per_s for count in (before, before + items))
        if problem := wait_problem(wait_s, self._max_wait_s, "its items decoded", done_s, time_remaining_s):
            self._rejected.labels("decoders").inc()
            raise GatewayFull(f"{before} images and recordings are to be decoded before this request's: {problem}", wait_s)

    async def decode(
        self, content: Content, spec: InputSpec, timeout_s: float | None = None, max_bytes: int = _MOST_BYTES
    ) -> Item:
        """Return the decoded item, equal to that of `decode_item`.

        timeout_s: until the caller's deadline, with the time of waiting for a decoder; None for no limit. max_bytes: that the
        rows may have. Raises what decode_item raises, MediaError also for an item that takes too much time or memory or crashes
        the process; DeadlineExceeded; GatewayFull if there is no process and none can be started.
        """
        loop = asyncio.get_running_loop()
        until = None if timeout_s is None else loop.time() + timeout_s
        slot = await self._take(until)
        running = loop.create_task(self._decode(slot, Request(content, spec, Limits(self.max_windows, max_bytes))))
        self._running.add(running)
        self._throughputs[slot].enter(1)
        running.add_done_callback(functools.partial(self._finished, slot))
        try:
            await asyncio.wait((running,), timeout=None if until is None else until - loop.time())
        finally:
            if not running.done():
                await self._leave(slot, running)
        if until is not None and loop.time() >= until:
            raise DeadlineExceeded("the deadline passed before the item was decoded; allow more time, or send less at once")
        return running.result()

    def close(self) -> None:
        """End all processes, and wait until they have left the system."""
        self._is_closed = True
        for slot in self._slots:
            slot.close()

    def pids(self) -> list[int]:
        """Return the numbers of the processes that live."""
        return [pid for slot in self._slots if (pid := slot.pid)]

    def _items_per_s(self) -> float | None:
        """Return how many items all decoders together decode in a second; None as long as too little was measured."""
        rates = [rate for throughput in self._throughputs.values() if (rate := throughput.rate()) is not None]
        return sum(rates) / len(rates) * self.count if rates else None

    async def _take(self, until: float | None) -> DecoderSlot:
        """Return a free slot, waiting behind all that wait already. until: time of the loop. Raises DeadlineExceeded."""
        if until is not None and until <= asyncio.get_running_loop().time():
            raise DeadlineExceeded("the deadline had passed before the item was decoded; allow more time")
        if self._idle:
            return self._idle.pop()
        future: asyncio.Future[DecoderSlot] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            async with asyncio.timeout_at(until):
                return await future
        except BaseException as error:
            if future.done() and not future.cancelled():
                self._give(future.result())
            else:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(future)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded("the deadline passed before a decoder was free; allow more time") from error
            raise

    def _give(self, slot: DecoderSlot) -> None:
        """Give a slot to the first that waits. One whose process has to start is taken last of all that are idle."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(slot)
                return
        if slot.is_ready:
            self._idle.append(slot)
        else:
            self._idle.appendleft(slot)

    async def _decode(self, slot: DecoderSlot, request: Request) -> Item:
        try:
            try:
                return await self._once(slot, request)
            except DecoderEnded as error:
                if error.by_signal != signal.SIGKILL or slot.is_killed:
                    raise
            return await self._once(slot, request)  # something else killed it, perhaps for the memory of others
        except DecoderEnded as error:
            raise MediaError(
                f"decoding the item ended its process ({error}): the file is damaged, or the decoder has a fault; "
                "convert it to another format"
            ) from error

    async def _once(self, slot: DecoderSlot, request: Request) -> Item:
        """Let a process decode an item within the limit of time."""
        try:
            await slot.ready()
        except (DecoderEnded, OSError) as error:
            raise GatewayFull(f"no process to decode media could be started ({error}); try again") from error
        try:
            async with asyncio.timeout(self._limit_s):
                return await slot.decode(request)
        except TimeoutError as error:
            self._ended.labels("time").inc()
            await slot.end()
            raise MediaError(
                f"decoding the item takes more than {self._limit_s:g} s; send a smaller one, or in parts"
            ) from error
        except asyncio.CancelledError:  # the event loop ends
            slot.kill()
            raise
        except DecoderEnded:
            if not slot.is_killed:
                self._ended.labels("crash").inc()
            raise

    async def _leave(self, slot: DecoderSlot, running: asyncio.Task[Item]) -> None:
        """Wait until an item that nobody waits for is done, or its process ended: until then the caller's memory is in use."""
        asyncio.get_running_loop().call_later(_FORSAKEN_S, self._forsake, slot, running)
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((running,))

    def _forsake(self, slot: DecoderSlot, running: asyncio.Task[Item]) -> None:
        if not running.done():
            self._ended.labels("forsaken").inc()
            slot.kill()

    def _finished(self, slot: DecoderSlot, running: asyncio.Task[Item]) -> None:
        self._running.discard(running)
        self._throughputs[slot].leave(1, done=not running.cancelled())
        if not running.cancelled():
            running.exception()  # the caller may have left
        if not (running.cancelled() or self._is_closed):
            with contextlib.suppress(OSError):  # the next item tries again
                slot.start()
        self._give(slot)


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has in use, in bytes; 0 if there is none such, or the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _not_started(error: Exception) -> SettingsError:
    return SettingsError(f"the processes that decode media do not start ({error}); use fewer --decoders")


@contextlib.contextmanager
def open_media_decoders(settings: Settings, metrics: Metrics) -> Iterator[MediaDecoders]:
    """Yield the decoders of a gateway; end their processes at the end."""
    decoders = MediaDecoders(settings, metrics)
    try:
        yield decoders
    finally:
        decoders.close()

"""Bound the memory of the messages of all calls in progress. A message is received only if there is room for it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from avizor_inference.errors import GatewayFull, MessageTooLarge
from avizor_service.metrics import Metrics
from avizor_service.throughput import Throughput
from avizor_service.whole import ALONE, Whole

# gRPC receives messages of so many MiB beyond the limit, so that those between are refused in our own words.
BEYOND_MIB = 1

# Seconds between two looks for room that another worker has given back.
_LOOK_S = 0.005


class MessageMemory:
    """Counts the bytes of messages: of one that is being received, the most that it may have, and then what it unpacks to.

    max_mib: size limit of a message. all_mib: of all together; at least that of one that is being received. max_wait_s: longest
    expected wait for room. clock: returns seconds. For one event loop.
    """

    def __init__(
        self,
        max_mib: int,
        all_mib: int,
        max_wait_s: float,
        metrics: Metrics,
        whole: Whole = ALONE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_mib, self._max_wait_s, self._rejected = max_mib, max_wait_s, metrics.rejected
        self.most_bytes = max_mib << 20
        self.receiving_bytes = (max_mib + BEYOND_MIB) << 20
        self._all_mib = max(all_mib, self.receiving_bytes >> 20)
        self._room = whole.limit("message_bytes", self._all_mib << 20)
        self._most_with_answers = self._room.most + self._room.most // 4
        self._looks_again = False
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()  # each with the bytes that it waits for
        self._receiving = Throughput(clock, one=self.receiving_bytes)  # counts the bytes that were taken

    async def take(self, time_remaining_s: float | None, most: int | None = None) -> int:
        """Take room for one message, in order of arrival; return how much. Raises GatewayFull if it takes too long, or would.

        most: bytes for which the message will count at most; None if nobody knows. No more than the largest message takes is
        taken. Follow with `keep` or `forget`.
        """
        taken = self.receiving_bytes if most is None else min(most, self.receiving_bytes)
        if self._waiting or not self._room.take(taken):
            await self._wait(taken, time_remaining_s)
        self._receiving.enter(taken)
        return taken

    def check_size(self, size: int) -> None:
        """Raise MessageTooLarge for a message of so many bytes, if it is."""
        if size > self.most_bytes:
            self._rejected.labels("size").inc()
            raise MessageTooLarge(
                f"the request has {size} bytes, and this gateway takes {self.most_bytes} (--max-message-mib "
                f"{self._max_mib}); send fewer items in one request, or use a batch job for long recordings"
            )

    def keep(self, count: int, taken: int) -> None:
        """Count so many bytes for a message that was received. Call `free` with them later. taken: what `take` has returned.

        They may be more than the largest message takes: a form is in memory twice, and JSON three times (docs/limits.md). Then
        there is no room for the next message until others have ended.
        """
        self._receiving.leave(taken, done=True)
        self.free(taken - count)

    def hold(self, count: int) -> None:
        """Count so many bytes of an answer until they are sent. While there is no room, no message is received.

        Raises GatewayFull if answers have taken a quarter more than there is: their clients do not read them.
        """
        if self._room.used > self._most_with_answers:
            self._rejected.labels("bytes").inc()
            raise GatewayFull(
                f"answers that were not read take more than the {self._all_mib} MiB that this gateway allows for messages "
                "(--max-request-mib-in-flight); try again later",
            )
        self._room.add(count)

    def forget(self, taken: int, *, is_received: bool = False) -> None:
        """Count a message no more that did not come, or that was received and refused. taken: what `take` has returned."""
        self._receiving.leave(taken, done=is_received)
        self.free(taken)

    def free(self, count: int) -> None:
        """Make room of so many bytes."""
        self._room.give(count)
        self._let_in()

    def _let_in(self) -> None:
        """Give room to those that wait, in their order. If it is shared, look again: other workers do not tell."""
        while self._waiting:
            waiter, wanted = self._waiting[0]
            if waiter.done():
                self._waiting.popleft()
            elif self._room.take(wanted):
                self._waiting.popleft()
                waiter.set_result(None)
            else:
                break
        if self._waiting and self._room.is_shared and not self._looks_again:
            self._looks_again = True
            asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        self._looks_again = False
        self._let_in()

    async def _wait(self, wanted: int, time_remaining_s: float | None) -> None:
        longest_s = self._max_wait_s if time_remaining_s is None else min(self._max_wait_s, time_remaining_s)
        expected_s = self._expected_s(wanted)
        if expected_s is not None and expected_s > longest_s:
            raise self._full(expected_s)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((waiter, wanted))
        self._let_in()
        try:
            async with asyncio.timeout(longest_s):
                await waiter
        except BaseException as error:
            if waiter.cancelled():
                self._let_in()  # those behind it may want less
            else:
                self.free(wanted)
            if isinstance(error, TimeoutError):
                raise self._full(expected_s) from error
            raise

    def _expected_s(self, wanted: int) -> float | None:
        """Return in how many seconds there will be room for so many bytes behind those that wait; None if that is not known.

        Messages that are received slowly have their room, and hold up nobody for whom others make room.
        """
        rate = self._receiving.rate()
        if rate is None:
            return None
        waiting = sum(count for waiter, count in self._waiting if not waiter.done())
        return max(0, waiting + wanted + self._room.used - self._room.most) / rate

    def _full(self, expected_s: float | None) -> GatewayFull:
        self._rejected.labels("bytes").inc()
        return GatewayFull(
            f"the requests in progress take the {self._all_mib} MiB that this gateway allows for them "
            "(--max-request-mib-in-flight), so this one is not received; try again later",
            expected_s,
        )

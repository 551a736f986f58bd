"""Bound the memory of the messages of all calls in progress. A message is received only if there is room for it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from avizor_inference.errors import GatewayFull, MessageTooLarge
from avizor_service.metrics import Metrics
from avizor_service.throughput import Throughput
from avizor_service.whole import ALONE, Whole

# gRPC receives messages of so many MiB beyond the limit, so that those between are refused in our own words.
BEYOND_MIB = 1

# Seconds between two looks for room that another worker has given back.
_LOOK_S = 0.005

# One client may have so many times the room that is left when it has it. So one alone has at most three quarters of all, of two
# each three sevenths, and there is room for one more client as long as there are not too many. One that has at most this part
# of all has little, and is not held up by others who have more.
_SHARE = 3
_LITTLE = 1 / 8

# So many behind the first that waits are looked at when there is room, but not enough for it.
_LOOKED_AT = 64


@dataclass(eq=False)
class _Waiter:
    """Waits for room of so many bytes. While it is the first, smaller messages pass it, until they have taken as many.

    So it waits for at most twice the bytes that it would wait for without them.
    """

    wanted: int
    client: str
    let_in: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    passed: int = 0

    def lets_pass(self, wanted: int) -> bool:
        """Return whether a message of so many bytes may pass this one."""
        return wanted < self.wanted and self.passed + wanted <= self.wanted


class MessageMemory:
    """Counts the bytes of messages: of one that is being received, the most that it may have, and then what it unpacks to.

    A client gets no more than its share, so that there is room for others. client, of each method: who sends the message; ""
    for one that has no share.
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
        self._little = int(self._room.most * _LITTLE)
        self._looks_again = False
        self._waiting: deque[_Waiter] = deque()
        self._bytes = whole.message_bytes()
        self._receiving = Throughput(clock, one=self.receiving_bytes)  # counts the bytes that were taken

    async def take(self, time_remaining_s: float | None, most: int | None = None, client: str = "") -> int:
        """Take room for one message; return how much. Raises GatewayFull if it takes too long, or would.

        It is given in order of arrival, but for clients that have their share, and for small messages that pass one for which
        there is not enough (_Waiter).
        most: bytes for which the message will count at most; None if nobody knows. No more than the largest message takes is
        taken. Follow with `keep` or `forget`.
        """
        taken = self.receiving_bytes if most is None else min(most, self.receiving_bytes)
        if not self._take_now(taken, client):
            await self._wait(taken, client, time_remaining_s)
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

    def keep(self, count: int, taken: int, client: str = "") -> None:
        """Count so many bytes for a message that was received. Call `free` with them later. taken: what `take` has returned.

        They may be more than the largest message takes: a form is in memory twice, and JSON three times (docs/limits.md). Then
        there is no room for the next message until others have ended.
        """
        self._receiving.leave(taken, done=True)
        self.free(taken - count, client)

    def hold(self, count: int, client: str = "") -> None:
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
        self._count(count, client)

    def forget(self, taken: int, client: str = "", *, is_received: bool = False) -> None:
        """Count a message no more that did not come, or that was received and refused. taken: what `take` has returned."""
        self._receiving.leave(taken, done=is_received)
        self.free(taken, client)

    def free(self, count: int, client: str = "") -> None:
        """Make room of so many bytes."""
        self._room.give(count)
        self._count(-count, client)
        self._let_in()

    def _count(self, count: int, client: str) -> None:
        if client:
            self._bytes.add(client, count)

    def _own(self, client: str) -> int:
        return self._bytes.of(client) if client else 0

    def _left(self) -> int:
        return self._room.most - self._room.used

    def _has_share(self, wanted: int, own: int, left: int) -> bool:
        """Return whether a client that has so many bytes may have more. One that has little may always have a message."""
        return own <= self._little or own + wanted <= _SHARE * (left - wanted)

    def _next(self) -> Iterator[_Waiter]:
        """Yield those that wait and are not held up by their share, in order of arrival."""
        left, held = self._left(), dict[str, int]()  # client -> the least that it may not have
        for each in self._waiting:
            if each.wanted >= held.get(each.client, each.wanted + 1) or each.let_in.done():
                continue
            if self._has_share(each.wanted, self._own(each.client), left):
                yield each
            else:
                held[each.client] = each.wanted

    def _take_now(self, wanted: int, client: str) -> bool:
        """Take room if there is enough, and if the first that waits lets it pass. Return whether it was taken."""
        if not self._waiting:
            return self._take(wanted, client)
        return self._has_share(wanted, self._own(client), self._left()) and self._take_behind(
            next(self._next(), None), wanted, client
        )

    def _take_behind(self, first: _Waiter | None, wanted: int, client: str) -> bool:
        if (first and not first.lets_pass(wanted)) or not self._take(wanted, client):
            return False
        if first:
            first.passed += wanted
        return True

    def _take(self, wanted: int, client: str) -> bool:
        """Take room if there is enough, and still a share: another worker may have let in the same client. See SharedLimit."""
        self._count(wanted, client)
        if self._room.take(wanted):
            if self._has_share(wanted, self._own(client) - wanted, self._left() + wanted):
                return True
            self._room.give(wanted)
        self._count(-wanted, client)
        return False

    def _let_in(self) -> None:
        """Give room to those that wait. If it is shared, look again: other workers do not tell."""
        if not self._waiting:
            return
        while (first := next(self._next(), None)) and self._take(first.wanted, first.client):
            self._waiting.remove(first)
            first.let_in.set_result(None)
        for behind in list(islice(self._next(), 1, 1 + _LOOKED_AT)):
            if self._take_behind(first, behind.wanted, behind.client):
                self._waiting.remove(behind)
                behind.let_in.set_result(None)
        if self._waiting and self._room.is_shared and not self._looks_again:
            self._looks_again = True
            asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        self._looks_again = False
        self._let_in()

    async def _wait(self, wanted: int, client: str, time_remaining_s: float | None) -> None:
        longest_s = self._max_wait_s if time_remaining_s is None else min(self._max_wait_s, time_remaining_s)
        expected_s = self._expected_s(wanted, client)
        if expected_s is not None and expected_s > longest_s:
            raise self._full(expected_s, wanted, client)
        waiter = _Waiter(wanted, client)
        self._waiting.append(waiter)
        self._let_in()
        try:
            async with asyncio.timeout(longest_s):
                await waiter.let_in
        except BaseException as error:
            if waiter.let_in.cancelled():
                self._waiting.remove(waiter)
                self._let_in()  # those behind it may want less
            else:
                self.free(wanted, client)
            if isinstance(error, TimeoutError):
                raise self._full(expected_s, wanted, client) from error
            raise

    def _expected_s(self, wanted: int, client: str) -> float | None:
        """Return in how many seconds there will be room for so many bytes behind those that wait; None if that is not known.

        Messages that are received slowly have their room, and hold up nobody for whom others make room.
        """
        rate = self._receiving.rate()
        if rate is None:
            return None
        waiting = list(self._next())
        if waiting and (first := waiting[0]).lets_pass(wanted):
            waiting = [waiter for waiter in waiting if first.lets_pass(waiter.wanted)]
        lacks = sum(each.wanted for each in waiting) + wanted + self._room.used - self._room.most
        if (own := self._own(client)) > self._little:
            before = sum(each.wanted for each in self._waiting if each.client == client)
            lacks = max(lacks, before + wanted + own - (self._left() + own) * _SHARE // (_SHARE + 1))
        return max(0, lacks) / rate

    def _full(self, expected_s: float | None, wanted: int, client: str) -> GatewayFull:
        self._rejected.labels("bytes").inc()
        has_share = self._has_share(wanted, self._own(client), self._left())
        who, share = ("", "") if has_share else (" of this client", "the share of one client in ")
        return GatewayFull(
            f"the requests in progress{who} take {share}the {self._all_mib} MiB that this gateway allows for them "
            "(--max-request-mib-in-flight), so this one is not received; try again later",
            expected_s,
        )

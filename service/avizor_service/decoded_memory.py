"""Bound the memory of the decoded items and the outputs of all calls: a small file can decode to a thousand times its size."""

from __future__ import annotations

from typing import Self

from avizor_inference.errors import GatewayFull, MediaError
from avizor_service.whole import ALONE, Whole

# A call may use this part of what all calls may use together.
_SHARE_OF_CALL = 4


class DecodedMemory:
    """Counts the bytes of the decoded items of all calls in progress: at most `mib` MiB, and a quarter of it for one call."""

    def __init__(self, mib: int, whole: Whole = ALONE) -> None:
        self._room, self._most_of_call = whole.limit("decoded_bytes", mib << 20), (mib << 20) // _SHARE_OF_CALL

    def of_call(self) -> CallMemory:
        """Return the memory of one call: `with memory.of_call() as call: ...`. What it holds is free again after that."""
        return CallMemory(self, self._most_of_call)

    def take(self, count: int) -> None:
        """Count so many bytes more. Raises GatewayFull."""
        if not self._room.take(count):
            raise GatewayFull(
                f"decoded items and outputs of all calls take {self._room.used >> 20} MiB of the {self._room.most >> 20} MiB "
                "that this gateway allows for them (--max-decoded-mib); try again"
            )

    def free(self, count: int) -> None:
        """Count so many bytes no more."""
        self._room.give(count)


class CallMemory:
    """Counts the bytes of the decoded items of one call."""

    def __init__(self, all_calls: DecodedMemory, most: int) -> None:
        self._all_calls, self._most = all_calls, most
        self.used = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._all_calls.free(self.used)

    @property
    def left(self) -> int:
        """Return how many bytes the next item may have."""
        return self._most - self.used

    def take(self, count: int) -> None:
        """Count an item of so many bytes. Raises MediaError if it is too much for one call, GatewayFull for all calls."""
        if count > self.left:
            raise MediaError(
                f"the items of the request decode to more than {self._most >> 20} MiB together; send shorter recordings, or "
                "fewer items in one request"
            )
        self.take_answer(count)

    def take_answer(self, count: int) -> None:
        """Count so many bytes of outputs, whose size for one call has a limit of its own. Raises GatewayFull."""
        self._all_calls.take(count)
        self.used += count

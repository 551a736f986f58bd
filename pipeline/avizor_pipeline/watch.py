"""Let a worker note which file it reads, where the process that started it can see it, also when the worker has died."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSequence
from typing import TypeVar

from avizor_inference.error_text import one_line
from avizor_inference.errors import AvizorError, MediaError

T = TypeVar("T")

NOT_READING = -1

# Places of the numbers.
_ENTRY, _STEPS, WAITS = 0, 1, 2
NUMBERS = 3


def decoder_failed(error: Exception) -> MediaError:
    """Return the error of an item whose decoder raised what it did not expect itself: it concerns one item, not the job."""
    return MediaError(f"its decoder failed ({type(error).__name__}: {one_line(error)})")


class Watch:
    """Holds which entry a worker has begun last, how often it went into a decoder and came back, and whether it waits.

    numbers: in shared memory if two processes use it. One process writes, another reads; each number is written in one step,
    so no lock is needed that a worker could die with.
    """

    def __init__(self, numbers: MutableSequence[int] | None = None) -> None:
        self.numbers = [0] * NUMBERS if numbers is None else numbers
        self.reset()

    @property
    def entry(self) -> int:
        """Return the place of the entry that was begun last, or NOT_READING."""
        return self.numbers[_ENTRY]

    @property
    def steps(self) -> int:
        """Return the number of times that a decoder was entered and left: it is odd while one works."""
        return self.numbers[_STEPS]

    @property
    def waits(self) -> bool:
        """Return whether the worker waits for an engine that is away."""
        return bool(self.numbers[WAITS])

    @waits.setter
    def waits(self, waits: bool) -> None:
        self.numbers[WAITS] = int(waits)

    def reset(self) -> None:
        """Forget the last task."""
        self.numbers[_ENTRY], self.numbers[_STEPS], self.numbers[WAITS] = NOT_READING, 0, 0

    def follow(self, entry: int, rows: Iterable[T]) -> Iterator[T]:
        """Yield what a decoder gives, and note each step.

        Raises MediaError for an error that the decoder did not expect itself (`decoder_failed`).
        """
        self.numbers[_ENTRY] = entry
        decoder = iter(rows)
        while True:
            self.numbers[_STEPS] += 1
            try:
                row = next(decoder)
            except StopIteration:
                return
            except (AvizorError, MemoryError):
                raise
            except Exception as error:
                raise decoder_failed(error) from error
            finally:
                self.numbers[_STEPS] += 1
            yield row

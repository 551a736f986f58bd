"""Count in memory that all workers share. Nobody waits for a lock, and a worker that is killed leaves none behind.

Each worker writes to a row of its own, and reads those of all. To take something for which there seems to be room it writes
first, and then looks at the sum. So of two workers that take the last place at the same time, at least one sees both: the limit
is never exceeded. It may happen that each sees the other, and neither gets the place.
"""

from __future__ import annotations

import mmap
import threading
from pathlib import Path
from typing import get_args
from zlib import crc32

from avizor_service.whole import ClientCounts, Limit, LimitName

_FILE = "counts"
_COLUMNS: tuple[LimitName, ...] = get_args(LimitName)

# After these columns, each of so many counts the bytes of clients whose names have it: few have one together.
_CLIENTS = 1024

# 8-byte numbers in a row: whole cache lines, so that a worker's writes do not slow down those of others.
_ROW = 8 * -(-(len(_COLUMNS) + _CLIENTS) // 8)
_BYTES = 8


class SharedCounts:
    """Holds the counts of all workers, in a file of the folder that they share. Workers are numbered from 1."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._numbers = memoryview(_mapped(folder / _FILE, workers * _ROW * _BYTES)).cast("q")

    def limit(self, worker: int, name: LimitName, most: int) -> SharedLimit:
        """Return what counts for one worker, and is bounded for all together."""
        column = _COLUMNS.index(name)
        return SharedLimit(most, self._numbers, (worker - 1) * _ROW + column, self._numbers[column::_ROW])

    def message_bytes(self, worker: int) -> SharedClientCounts:
        """Return what counts the bytes of clients for one worker, and tells those of all together."""
        return SharedClientCounts(self._numbers, (worker - 1) * _ROW)

    def forget(self, worker: int) -> None:
        """Set the counts of a worker to 0: its process has ended."""
        for place in range((worker - 1) * _ROW, worker * _ROW):
            self._numbers[place] = 0


class SharedLimit(Limit):
    """Bounds a count of all workers. An aligned 8-byte number is written and read in one step."""

    is_shared = True

    def __init__(self, most: int, numbers: memoryview, own: int, of_all: memoryview) -> None:
        super().__init__(most)
        self._numbers, self._place, self._of_all = numbers, own, of_all
        # To take a lock that is free is a memory barrier: what was written is seen by others before their numbers are read.
        self._barrier = threading.Lock()

    @property
    def used(self) -> int:
        """See Limit.used."""
        return sum(self._of_all)

    def take(self, count: int = 1) -> bool:
        """See Limit.take. It may return False while another worker takes the last that there is, too."""
        if self.used + count > self.most:
            return False  # written down, it would take the room from others that want less
        self.add(count)
        with self._barrier:
            pass
        if self.used <= self.most:
            return True
        self.give(count)
        return False

    def add(self, count: int) -> None:
        """See Limit.add."""
        self._own += count
        self._numbers[self._place] = self._own

    def give(self, count: int = 1) -> None:
        """See Limit.give."""
        self.add(-count)


class SharedClientCounts(ClientCounts):
    """Counts something of each client of all workers. Clients of one column are counted as one."""

    def __init__(self, numbers: memoryview, row: int) -> None:
        super().__init__()
        self._numbers, self._row = numbers, row

    def of(self, client: str) -> int:
        """See ClientCounts.of."""
        return sum(self._numbers[_column(client) :: _ROW])

    def add(self, client: str, count: int) -> None:
        """See ClientCounts.add."""
        self._numbers[self._row + _column(client)] += count


def _column(client: str) -> int:
    return len(_COLUMNS) + crc32(client.encode()) % _CLIENTS


def _mapped(path: Path, size: int) -> mmap.mmap:
    with path.open("a+b") as file:
        file.truncate(size)  # zeros, where nothing was written
        return mmap.mmap(file.fileno(), size)

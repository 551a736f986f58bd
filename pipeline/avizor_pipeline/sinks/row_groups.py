"""Say how many rows are in memory before they are written as one row group: as many as take a bounded number of bytes."""

from __future__ import annotations

# Most rows, and about the bytes that they may take in memory with what Arrow makes of them.
ROW_GROUP = 16384
GROUP_BYTES = 24 * 2**20

# Bytes of a row by itself, of a class in `top_k`, and of a number in an embedding: as lists of Python and in Arrow (measured).
_ROW, _CLASS, _NUMBER = 1024, 430, 18


def rows_in_group(classes: int, numbers: int) -> int:
    """Return the rows of a row group. classes: in `top_k` of a row. numbers: in its embedding. They decide it alone."""
    return max(1, min(ROW_GROUP, GROUP_BYTES // (_ROW + classes * _CLASS + numbers * _NUMBER)))

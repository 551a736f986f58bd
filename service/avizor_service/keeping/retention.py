"""Decide what is kept no longer: what is too old, and the oldest of whichever source has most, until the rest fits.

Age is a promise to whoever was recorded, so it holds for everything. Bytes are a matter of room: there, items that somebody has
answered stay longest, since an answer without its item says little. The answers themselves stay in any case.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import NamedTuple

from avizor_service.keeping.places import KeptFile

# When there are too many bytes, so much is removed that there is some room again: else each item would remove another.
_ROOM = 0.95


class Doomed(NamedTuple):
    """Says which files go, because of their age, or for want of room."""

    by_age: Sequence[KeptFile]
    by_bytes: Sequence[KeptFile]


def doomed(files: Sequence[KeptFile], other_bytes: int, answered: Collection[str], most_bytes: int, oldest_ns: int) -> Doomed:
    """Return what goes. files: the oldest first. other_bytes: of the tables. answered: paths of items that have an answer."""
    by_age = [file for file in files if file.time_ns < oldest_ns]
    left = files[len(by_age) :]
    total = other_bytes + sum(file.size for file in left)
    if total <= most_bytes:
        return Doomed(by_age, ())
    sizes: dict[str, int] = {}
    queues: tuple[dict[str, deque[KeptFile]], dict[str, deque[KeptFile]]] = ({}, {})
    for file in left:
        sizes[file.group] = sizes.get(file.group, 0) + file.size
        queues[file.path in answered].setdefault(file.group, deque()).append(file)
    by_bytes: list[KeptFile] = []
    for waiting in queues:  # those without an answer first
        while waiting and total > most_bytes * _ROOM:
            group = max(waiting, key=lambda name: (sizes[name], name))
            file = waiting[group].popleft()
            by_bytes.append(file)
            sizes[group] -= file.size
            total -= file.size
            if not waiting[group]:
                del waiting[group]
    return Doomed(by_age, by_bytes)

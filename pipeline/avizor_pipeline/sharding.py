"""Cut a dataset into shards: the same files and settings give the same shards, in every process and every run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from avizor_inference.items.dataset import Entry
from avizor_pipeline.settings import JobSettings

# A shard is full at the first of these limits: few files, so that progress is visible and little is repeated after a stop; few
# bytes, so that long recordings are spread over the workers.
SHARD_FILES = 64
SHARD_BYTES = 64 * 2**20
# Or at so many items: rows of a table, which are small and come some thousand at a time.
SHARD_ITEMS = 4096


@dataclass(frozen=True)
class Shard:
    """Holds the entries one worker processes at once. Its id is a hash of the settings and of each entry's uri, size, time."""

    id: str
    entries: tuple[Entry, ...]

    @property
    def items(self) -> int:
        """Return the number of items, those in files that hold many included."""
        return sum(entry.items for entry in self.entries)


def shards(settings: JobSettings, entries: Iterable[Entry]) -> Iterator[Shard]:
    """Yield the shards in the order of the entries. Only one shard is kept in memory."""
    collected: list[Entry] = []
    size = items = 0
    for entry in entries:
        collected.append(entry)
        size, items = size + entry.size, items + entry.items
        if len(collected) >= SHARD_FILES or size >= SHARD_BYTES or items >= SHARD_ITEMS:
            yield _shard(settings, collected)
            collected, size, items = [], 0, 0
    if collected:
        yield _shard(settings, collected)


def _shard(settings: JobSettings, entries: list[Entry]) -> Shard:
    digest = hashlib.sha256(settings.digest.encode())
    for entry in entries:
        digest.update(f"\0{entry.uri}\0{entry.size}\0{entry.modified_ns}".encode())
    return Shard(digest.hexdigest()[:16], tuple(entries))

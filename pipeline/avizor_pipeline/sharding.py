"""Cut a round into shards: the same files and settings give the same shards, in every process and every run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from avizor_inference.items.dataset import Entry
from avizor_pipeline.settings import JobSettings

# A shard is full at the first of these limits: few files, so that progress is visible and little is repeated after a stop; few
# bytes, so that long recordings are spread over the workers. Shards after the first SMALL_SHARDS may have more files, since the
# three files of each shard that are flushed to disk take as long as the decoding of many short recordings.
SMALL_SHARDS, SMALL_SHARD_FILES = 16, 64
SHARD_FILES = 256
SHARD_BYTES = 64 * 2**20
# Or at so many items: rows of a table, which are small and come some thousand at a time.
SHARD_ITEMS = 4096


@dataclass(frozen=True)
class Shard:
    """Holds what a worker does at once. Its id is a hash of the settings, the round, and each entry's uri, size and time."""

    id: str
    entries: tuple[Entry, ...]

    @property
    def items(self) -> int:
        """Return the number of items, those in files that hold many included."""
        return sum(entry.items for entry in self.entries)


def shards(settings: JobSettings, entries: Iterable[Entry], number: int = 1) -> Iterator[Shard]:
    """Yield the shards of a round in the order of its entries. Only one shard is kept in memory. number: of the round."""
    collected: list[Entry] = []
    count = size = items = 0
    for entry in entries:
        collected.append(entry)
        size, items = size + entry.size, items + entry.items
        most = SMALL_SHARD_FILES if count < SMALL_SHARDS else SHARD_FILES
        if len(collected) >= most or size >= SHARD_BYTES or items >= SHARD_ITEMS:
            yield _shard(settings, number, collected)
            collected = []
            count, size, items = count + 1, 0, 0
    if collected:
        yield _shard(settings, number, collected)


def _shard(settings: JobSettings, number: int, entries: list[Entry]) -> Shard:
    digest = hashlib.sha256(f"{settings.digest}\0{number}".encode())
    for entry in entries:
        digest.update(f"\0{entry.uri}\0{entry.size}\0{entry.modified_ns}".encode())
    return Shard(digest.hexdigest()[:16], tuple(entries))

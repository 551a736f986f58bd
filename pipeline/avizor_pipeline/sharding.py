"""Cut a dataset into shards: the same files and settings give the same shards, in every process and every run."""

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


@dataclass(frozen=True)
class Shard:
    """Holds the entries one worker processes at once. Its id is a hash of the settings and of each entry's uri, size, time."""

    id: str
    entries: tuple[Entry, ...]


def shards(settings: JobSettings, entries: Iterable[Entry]) -> Iterator[Shard]:
    """Yield the shards in the order of the entries. Only one shard is kept in memory."""
    collected: list[Entry] = []
    count = size = 0
    for entry in entries:
        collected.append(entry)
        size += entry.size
        if len(collected) >= (SMALL_SHARD_FILES if count < SMALL_SHARDS else SHARD_FILES) or size >= SHARD_BYTES:
            yield _shard(settings, collected)
            collected = []
            count, size = count + 1, 0
    if collected:
        yield _shard(settings, collected)


def _shard(settings: JobSettings, entries: list[Entry]) -> Shard:
    digest = hashlib.sha256(settings.digest.encode())
    for entry in entries:
        digest.update(f"\0{entry.uri}\0{entry.size}\0{entry.modified_ns}".encode())
    return Shard(digest.hexdigest()[:16], tuple(entries))

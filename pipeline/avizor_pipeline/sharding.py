"""Cut a round into shards: the same files and settings give the same shards, in every process and every run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from avizor_inference.items.dataset import Entry
from avizor_inference.items.find_files import suffix_of
from avizor_inference.items.input_spec import CONTENTS
from avizor_inference.items.kinds.base import FileContent
from avizor_inference.items.sections import WHOLE, Section
from avizor_pipeline.settings import JobSettings, PinnedCalibration
from avizor_pipeline.sinks.part_files import shard_of
from avizor_pipeline.sinks.section_files import section_id

# A shard is full at the first of these limits: few files, so that progress is visible and little is repeated after a stop; few
# bytes (JobSettings.shard_mib), so that long recordings are spread over the workers. Shards after the first SMALL_SHARDS may
# have more files, since the three files of each shard that are flushed to disk take as long as the decoding of many short
# recordings. The more files came before it, the more it may have, up to JobSettings.shard_files: what a stop repeats is a small
# part of what was done, and many shards are left for many workers.
SMALL_SHARDS, SMALL_SHARD_FILES = 16, 64
LEAST_SHARD_FILES, SHARE_OF_FILES_BEFORE = 256, 1 / 64
# Or at so many items: rows of a table, which are small and come some thousand at a time.
SHARD_ITEMS = 4096


@dataclass(frozen=True)
class Shard:
    """Holds what a worker does at once. Its id is a hash of the settings, the round, and each entry's uri, size and time.

    sections: into which its one file is cut, which is too long for one worker; else 1. section: the one that this is.
    calibrations: that judge the files, of models for which they are not those that the job began with.
    """

    id: str
    entries: tuple[Entry, ...]
    sections: int = 1
    section: Section = WHOLE
    calibrations: tuple[PinnedCalibration, ...] = ()

    @property
    def is_section(self) -> bool:
        """Return whether this is a part of a file."""
        return self.section != WHOLE

    @property
    def whole_id(self) -> str:
        """Return the id of the shard of which this is a section."""
        return shard_of(self.id)

    def cut(self, number: int) -> Shard:
        """Return one of the sections, by its number from 0."""
        return replace(self, id=section_id(self.id, number), section=Section(number, self.sections))

    def tasks(self) -> Iterator[Shard]:
        """Yield what workers do of it: the shard itself, or its sections."""
        if self.sections == 1:
            yield self
        else:
            yield from (self.cut(number) for number in range(self.sections))

    @property
    def items(self) -> int:
        """Return the number of items, those in files that hold many included."""
        return sum(entry.items for entry in self.entries)


def shards(
    settings: JobSettings, entries: Iterable[Entry], number: int = 1, calibrations: tuple[PinnedCalibration, ...] = ()
) -> Iterator[Shard]:
    """Yield the shards of a round in the order of its entries; a long file, which is a shard by itself, comes at once.

    Only one shard is kept in memory. number: of the round. calibrations: see Shard.
    """
    for shard in _shards(settings, entries, number):
        yield replace(shard, calibrations=calibrations) if calibrations else shard


def _shards(settings: JobSettings, entries: Iterable[Entry], number: int) -> Iterator[Shard]:
    collected: list[Entry] = []
    count = size = items = before = 0
    most = SMALL_SHARD_FILES
    for entry in entries:
        if (sections := _sections(settings, entry)) > 1:
            yield replace(_shard(settings, number, [entry]), sections=sections)
            continue
        collected.append(entry)
        size, items = size + entry.size, items + entry.items
        if len(collected) >= most or size >= settings.shard_mib * 2**20 or items >= SHARD_ITEMS:
            yield _shard(settings, number, collected)
            count, before, size, items = count + 1, before + len(collected), 0, 0
            most = _most_files(settings, count, before)
            collected = []
    if collected:
        yield _shard(settings, number, collected)


def _most_files(settings: JobSettings, shards: int, files: int) -> int:
    """Return how many files the next shard may have, after so many shards and files."""
    if shards < SMALL_SHARDS:
        return SMALL_SHARD_FILES
    return min(max(LEAST_SHARD_FILES, int(files * SHARE_OF_FILES_BEFORE)), settings.shard_files)


def _sections(settings: JobSettings, entry: Entry) -> int:
    """Return the number of sections for a file: it follows from its size and its suffix, so that each run cuts it alike.

    If the file cannot be sought, its first section has all of it. The windows of a reconstruction are joined in one worker.
    """
    longest = settings.shard_mib * 2**20
    if entry.part or entry.size <= longest or settings.reconstructions:
        return 1
    suffix = suffix_of(entry.file)
    kinds = [CONTENTS[name] for name in settings.contents]
    takers = [kind for kind in kinds if issubclass(kind, FileContent) and suffix in kind.suffixes]
    return -(-entry.size // longest) if len(takers) == 1 and suffix in takers[0].suffixes_of_sections else 1


def _shard(settings: JobSettings, number: int, entries: list[Entry]) -> Shard:
    digest = hashlib.sha256(f"{settings.digest}\0{number}".encode())
    for entry in entries:
        digest.update(f"\0{entry.uri}\0{entry.size}\0{entry.modified_ns}".encode())
    return Shard(digest.hexdigest()[:16], tuple(entries))

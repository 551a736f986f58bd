"""What there is to do in a job, counted before it begins."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from avizor_inference.errors import JobError, SettingsError
from avizor_inference.items.files import LeftOut
from avizor_inference.items.sources import DEFAULT_SOURCE
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.shards import shards


@dataclass(frozen=True)
class Plan:
    """What there is to do, counted without keeping it."""

    files: int
    bytes: int
    shard_ids: frozenset[str]
    left_out: LeftOut = field(default_factory=LeftOut)  # files that are not read
    sources: Counter[str] = field(default_factory=Counter)  # files of each


def plan(settings: JobSettings) -> Plan:
    """Count the files and shards. Raises JobError if there are none, SettingsError if a source pattern matches none."""
    files, size, ids, left_out, sources = 0, 0, set(), LeftOut(), Counter[str]()
    for shard in shards(settings, left_out):
        files += len(shard.recordings)
        sources.update(recording.source for recording in shard.recordings)
        size += sum(recording.size for recording in shard.recordings)
        ids.add(shard.id)
    if not files:
        found = f"; left out: {left_out}" if left_out.counts else ""
        raise JobError(f"no audio files in {', '.join(settings.roots)}{found}")
    if settings.source_pattern and set(sources) == {DEFAULT_SOURCE}:
        raise SettingsError(
            f"--source-pattern {settings.source_pattern!r} matches none of the {files} files; it is searched in their paths "
            f"below {', '.join(settings.roots)}"
        )
    return Plan(files, size, frozenset(ids), left_out, sources)

"""Count what there is to do in a job, before it begins."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from avizor_inference.errors import JobError, SettingsError
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.source_rule import DEFAULT_SOURCE
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import shards
from avizor_pipeline.sources.open_source import open_source


@dataclass(frozen=True)
class Plan:
    """Holds the size of a job, and the ids of the shards, not their entries.

    files: of a file that holds many items, each item counts as one. packed: number of such files. left_out: what the dataset
    holds and the job does not read. sources: number of files of each source. kinds: number of files that are taken for each
    kind, by names in CONTENTS.
    """

    files: int
    bytes: int
    shard_ids: frozenset[str]
    left_out: LeftOut = field(default_factory=LeftOut)
    sources: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    packed: int = 0


def plan_job(settings: JobSettings) -> Plan:
    """Count the files and shards of a job.

    Raises DatasetError if the dataset cannot be listed, JobError if it is empty, SettingsError if the source pattern matches
    no file.
    """
    files, size, packed, ids, left_out, sources, kinds = 0, 0, 0, set(), LeftOut(), Counter[str](), Counter[str]()
    source = open_source(settings)
    for shard in shards(settings, source.list(left_out)):
        files += shard.items
        size += sum(entry.size for entry in shard.entries)
        for entry in shard.entries:
            sources[entry.source] += entry.items
            kinds.update(dict.fromkeys(source.kinds(entry), entry.items))
            packed += entry.part is not None and entry.part.first == 0
        ids.add(shard.id)
    if not files:
        others = f"; left out: {left_out}" if left_out.counts else ""
        raise JobError(f"no {' or '.join(settings.contents)} files in {', '.join(settings.roots)}{others}")
    if settings.source_pattern and set(sources) == {DEFAULT_SOURCE}:
        raise SettingsError(
            f"--source-pattern {settings.source_pattern!r} matches none of the {files} files; it is searched in their paths "
            f"below {', '.join(settings.roots)}"
        )
    return Plan(files, size, frozenset(ids), left_out, sources, kinds, packed)

"""Cutting a dataset into shards: the same files and settings give the same shards, whoever plans and how often."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avizor_inference.audio import find_audio
from avizor_inference.errors import JobError
from avizor_inference.sources import SourceRule
from avizor_pipeline.settings import JobSettings

# A shard is closed at whichever comes first: few enough files that progress is seen and little is done again after a stop,
# and few enough bytes that long recordings are spread over the workers.
SHARD_FILES = 64
SHARD_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Recording:
    """One file of the dataset: `uri` is its path below the root as the root was given."""

    uri: str
    source: str
    size: int  # bytes
    modified_ns: int


@dataclass(frozen=True)
class Shard:
    """Work for one worker. The id is a hash of the settings and of each file's uri, size and time of change."""

    id: str
    recordings: tuple[Recording, ...]


def shards(settings: JobSettings) -> Iterator[Shard]:
    """The shards in order. Nothing but one shard is kept in memory."""
    held: list[Recording] = []
    for recording in _recordings(settings):
        held.append(recording)
        if len(held) >= SHARD_FILES or sum(each.size for each in held) >= SHARD_BYTES:
            yield _shard(settings, held)
            held = []
    if held:
        yield _shard(settings, held)


def _recordings(settings: JobSettings) -> Iterator[Recording]:
    rule = SourceRule(settings.source_pattern)
    for root in map(Path, settings.roots):
        if not root.exists():
            raise JobError(f"{root} does not exist; give a folder of audio files, or one file")
        try:
            paths = find_audio(root) if root.is_dir() else iter([root])
            base = root if root.is_dir() else root.parent
            for path in paths:
                status = path.stat()
                yield Recording(str(path), rule.source_of(path.relative_to(base)), status.st_size, status.st_mtime_ns)
        except OSError as error:
            raise JobError(f"{error.filename}: cannot be listed ({error.strerror})") from error


def _shard(settings: JobSettings, recordings: list[Recording]) -> Shard:
    digest = hashlib.sha256(settings.digest.encode())
    for recording in recordings:
        digest.update(f"\0{recording.uri}\0{recording.size}\0{recording.modified_ns}".encode())
    return Shard(digest.hexdigest()[:16], tuple(recordings))

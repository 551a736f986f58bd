"""Cutting a dataset into shards: the same files and settings give the same shards, whoever plans and how often."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avizor_inference.errors import JobError
from avizor_inference.items.audio import AUDIO_SUFFIXES
from avizor_inference.items.files import LeftOut, find_files, name_of, path_of
from avizor_inference.items.sources import SourceRule
from avizor_pipeline.settings import JobSettings

# A shard is closed at whichever comes first: few enough files that progress is seen and little is done again after a stop,
# and few enough bytes that long recordings are spread over the workers.
SHARD_FILES = 64
SHARD_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Recording:
    """One file of the dataset: `uri` is its path below the root as the root was given, written by `files.name_of`.

    What cannot be looked at has size and time of change 0; reading it says why.
    """

    uri: str
    source: str
    size: int  # bytes
    modified_ns: int


@dataclass(frozen=True)
class Shard:
    """Work for one worker. The id is a hash of the settings and of each file's uri, size and time of change."""

    id: str
    recordings: tuple[Recording, ...]


def shards(settings: JobSettings, left_out: LeftOut | None = None) -> Iterator[Shard]:
    """The shards in order. Nothing but one shard is kept in memory; what is no recording is counted in `left_out`."""
    held: list[Recording] = []
    for recording in _recordings(settings, left_out):
        held.append(recording)
        if len(held) >= SHARD_FILES or sum(each.size for each in held) >= SHARD_BYTES:
            yield _shard(settings, held)
            held = []
    if held:
        yield _shard(settings, held)


def _recordings(settings: JobSettings, left_out: LeftOut | None) -> Iterator[Recording]:
    rule = SourceRule(settings.source_pattern)
    for root in map(path_of, settings.roots):
        if not root.exists():
            raise JobError(f"{name_of(str(root))} does not exist; give a folder of audio files, or one file")
        try:
            paths = find_files(root, AUDIO_SUFFIXES, left_out) if root.is_dir() else iter([root])
            base = root if root.is_dir() else root.parent
            for path in paths:
                yield Recording(name_of(str(path)), rule.source_of(path.relative_to(base)), *_size_and_time(path))
        except OSError as error:
            raise JobError(f"{name_of(str(error.filename))}: cannot be listed ({error.strerror})") from error


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _shard(settings: JobSettings, recordings: list[Recording]) -> Shard:
    digest = hashlib.sha256(settings.digest.encode())
    for recording in recordings:
        digest.update(f"\0{recording.uri}\0{recording.size}\0{recording.modified_ns}".encode())
    return Shard(digest.hexdigest()[:16], tuple(recordings))

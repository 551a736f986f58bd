"""The files that a job began with, so that what has changed when it goes on can be told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from avizor_inference.durable_files import give_name, temporary_name
from avizor_inference.errors import JobError
from avizor_pipeline.plan import Shard

LISTING_FILE = "listing.parquet"

_SCHEMA = pa.schema([("uri", pa.string()), ("size", pa.int64()), ("modified_ns", pa.int64())])


def note_files(out: Path, shards: Iterable[Shard]) -> None:
    """Write down the files of a job that begins, a shard at a time."""
    temporary = temporary_name(out / LISTING_FILE)
    with pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as writer:
        for shard in shards:
            rows = [{"uri": each.uri, "size": each.size, "modified_ns": each.modified_ns} for each in shard.recordings]
            writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
    give_name(temporary, out / LISTING_FILE)


def changes_since(out: Path, shards: Iterable[Shard]) -> str:
    """How the files differ from those that the job in `out` began with, in words; empty where they do not.

    Raises JobError if the job wrote none down, as those of earlier versions.
    """
    try:
        noted = pq.read_table(out / LISTING_FILE, schema=_SCHEMA)
    except (OSError, pa.ArrowException) as error:
        raise JobError(f"{out} holds shards of other files than there are now; choose another --out") from error
    before = {_key(uri): (size, time) for uri, size, time in zip(*(each.to_pylist() for each in noted.columns), strict=True)}
    new = changed = 0
    for recording in (each for shard in shards for each in shard.recordings):
        found = before.pop(_key(recording.uri), None)
        if found is None:
            new += 1
        elif found != (recording.size, recording.modified_ns):
            changed += 1
    counts = {"new": new, "changed": changed, "gone": len(before)}
    return ", ".join(f"{count} {'file is' if count == 1 else 'files are'} {what}" for what, count in counts.items() if count)


def _key(uri: str) -> int:
    """Less to keep than the name, of which there may be millions."""
    return hash(uri)

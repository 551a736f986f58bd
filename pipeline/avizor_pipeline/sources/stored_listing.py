"""Keep a listing beside the results: the files a job began with, to name those that have changed when it is resumed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from avizor_inference.durable_files import flush_and_rename, temporary_name
from avizor_inference.errors import JobError
from avizor_inference.items.dataset import Entry

LISTING_FILE = "listing.parquet"

# Entries in memory at once, and in one row group.
_ROW_GROUP = 64

_SCHEMA = pa.schema([("uri", pa.string()), ("size", pa.int64()), ("modified_ns", pa.int64())])


def write_listing(out: Path, entries: Iterable[Entry]) -> None:
    """Write down the files of a job that begins, in bounded memory."""
    temporary = temporary_name(out / LISTING_FILE)
    remaining = iter(entries)
    with pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as writer:
        while group := list(islice(remaining, _ROW_GROUP)):
            rows = [{"uri": entry.uri, "size": entry.size, "modified_ns": entry.modified_ns} for entry in group]
            writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
    flush_and_rename(temporary, out / LISTING_FILE)


def changes_since(out: Path, entries: Iterable[Entry]) -> str:
    """Describe how the files differ from those that the job in `out` began with; return "" if they do not.

    Raises JobError if the job has no listing, as those of earlier versions.
    """
    try:
        listing = pq.read_table(out / LISTING_FILE, schema=_SCHEMA)
    except (OSError, pa.ArrowException) as error:
        raise JobError(f"{out} holds shards of other files than there are now; choose another --out") from error
    columns = (column.to_pylist() for column in listing.columns)
    before = {_key(uri): (size, modified) for uri, size, modified in zip(*columns, strict=True)}
    new = changed = 0
    for entry in entries:
        known = before.pop(_key(entry.uri), None)
        if known is None:
            new += 1
        elif known != (entry.size, entry.modified_ns):
            changed += 1
    counts = {"new": new, "changed": changed, "gone": len(before)}
    return ", ".join(f"{count} {'file is' if count == 1 else 'files are'} {what}" for what, count in counts.items() if count)


def _key(uri: str) -> int:
    """Return a hash: it takes less memory than the name, and there may be millions."""
    return hash(uri)

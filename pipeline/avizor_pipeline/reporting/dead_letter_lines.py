"""Say why files could not be read: the first few reasons, for the end of a job's summary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from avizor_inference.error_text import printable
from avizor_inference.errors import AvizorError
from avizor_pipeline.sinks.output_files import OutputPath, files_of, opened

# Dead letters that are shown; all are in the tables.
SHOWN = 3
_LONGEST = 1000  # characters: a command that converts the file is whole


def dead_letter_lines(out: OutputPath, count: int) -> Iterator[str]:
    """Yield the messages of the first dead letters of a finished job, indented, and how many more there are.

    count: of all of them. What cannot be read any more is left out: the job itself is done.
    """
    shown = 0
    with suppress(AvizorError, OSError, pa.ArrowException):
        for message in islice(_messages(out), SHOWN):
            yield f"  {printable(' '.join(message.split())[:_LONGEST])}"
            shown += 1
    if 0 < shown < count:
        yield f"  and {count - shown} more"


def _messages(out: OutputPath) -> Iterator[str]:
    for file in files_of(out / "dead_letters", ".parquet"):
        yield from pq.read_table(opened(file), columns=["message"]).column("message").to_pylist()

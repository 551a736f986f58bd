"""Say why files could not be read: the most usual reasons, for the end of a job's summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import PurePath

import pyarrow as pa

from avizor_inference.error_text import printable
from avizor_inference.errors import AvizorError
from avizor_pipeline.sinks.output_files import OutputPath, files_of, read_part

# Reasons that are shown; all dead letters are in the tables.
SHOWN = 3

# Different reasons that are counted: some name what was found in a file, so that there may be as many as files. And parts of
# the table that are read: from an object store each takes a while.
_KEPT, _PARTS = 1000, 64
_LONGEST = 1000  # characters: a command that converts the file is whole


def dead_letter_lines(out: OutputPath, count: int) -> Iterator[str]:
    """Yield the reasons of the dead letters of a finished job, the most usual first, and how many have others.

    Each is the message of the first file that has it, indented, with the number of those that have the same in the first parts
    of the table. count: of all of them. What cannot be read any more is left out: the job itself is done.
    """
    first, files = dict[str, str](), Counter[str]()
    with suppress(AvizorError, OSError, pa.ArrowException):
        for reason, message in _messages(out):
            if len(first) < _KEPT or reason in first:
                first.setdefault(reason, message)
                files[reason] += 1
    shown = files.most_common(SHOWN)
    for reason, alike in shown:
        same = f" (and {alike - 1} more for the same reason)" if alike > 1 else ""
        yield f"  {printable(' '.join(first[reason].split())[:_LONGEST])}{same}"
    left = count - sum(alike for _, alike in shown)
    if shown and left > 0:
        yield f"  and {left} more"


def _messages(out: OutputPath) -> Iterator[tuple[str, str]]:
    """Yield why each could not be read, without the file's name in front, and the whole message."""
    for file in islice(files_of(out / "dead_letters", ".parquet"), _PARTS):
        table = read_part(file, ["uri", "message"])
        for uri, message in zip(*(table.column(name).to_pylist() for name in ("uri", "message")), strict=True):
            yield message.removeprefix(f"{PurePath(uri).name}: "), message

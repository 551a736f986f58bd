"""Write the tables of one writer, part by part. The newest part is written anew, whole, until it is large.

A part that is written anew has another name, since a reader may open a file twice and would find two contents. One rename, of
its commit record, makes the new one count instead of the old one. So whenever the process is killed, each item counts once. The
old one stays for some seconds: somebody may be reading it.
"""

from __future__ import annotations

import io
import logging
import os
import re
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avizor_inference.durable_files import sync_folder
from avizor_inference.error_text import one_line
from avizor_inference.job_results import COMMITS, ROUNDS
from avizor_inference.job_tables import RECORDINGS, ROUND, WINDOWS
from avizor_service.keeping.private_files import make_private_folder, write_private

_log = logging.getLogger(__name__)

# The tables that a gateway keeps, with their schemas.
KEPT_TABLES = {"windows": WINDOWS, ROUNDS: ROUND, "recordings": RECORDINGS}

# A part with so many rows is not written again to add more.
_MOST_ITEMS, _MOST_WINDOWS = 512, 20_000

# Seconds for which a part is there that does not count any more.
_STAYS_S = 5.0

# Of a part: its writer, its number, and how often it was written.
_STEM = re.compile(r"w(\d+)p(\d+)r(\d+)")

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
Tables = dict[str, Any]  # of pyarrow


class SlotTables:
    """Holds the parts of one writer, whose slot is held. Every method raises OSError if the disk refuses, pa.ArrowException."""

    def __init__(self, folder: Path, slot: int) -> None:
        self._folder, self._slot = folder, slot
        for name in (*KEPT_TABLES, COMMITS):
            make_private_folder(folder / name)
        self._old: deque[tuple[float, Path]] = deque()  # until when they stay
        self._revisions = dict(sorted(self._listed(COMMITS)))  # by the number of a part
        for name in KEPT_TABLES:  # what a killed process has left
            for number, revision in self._listed(name):
                if self._revisions.get(number) != revision:
                    self._path(name, number, revision).unlink(missing_ok=True)
        self._number = max(self._revisions, default=0)
        self._newest = (self._read(self._number) if self._number else None) or _empty()

    def add(self, rows: Rows) -> None:
        """Add rows by table. They count once this returns."""
        fresh = {name: pa.Table.from_pylist(list(rows[name]), schema=schema) for name, schema in KEPT_TABLES.items()}
        before, number = self._newest, self._number
        if not number or before["recordings"].num_rows >= _MOST_ITEMS or before["windows"].num_rows >= _MOST_WINDOWS:
            before, number = _empty(), number + 1
        joined = {name: pa.concat_tables([before[name], fresh[name]]).combine_chunks() for name in KEPT_TABLES}
        self._write(number, joined)
        self._newest, self._number = joined, number

    def remove(self, uris: Collection[str]) -> None:
        """Remove all rows of these items."""
        doomed = pa.array(sorted(uris), pa.string())
        for number in list(self._revisions):
            tables = self._tables_of(number)
            if tables is None or not pc.any(pc.is_in(tables["recordings"]["uri"], doomed)).as_py():
                continue
            left = {name: table.filter(pc.invert(pc.is_in(table["uri"], doomed))) for name, table in tables.items()}
            if left["recordings"].num_rows:
                self._write(number, left)
            else:
                self._drop(number)
            if number == self._number:
                self._newest = left

    def remove_old(self) -> None:
        """Remove the parts that do not count any more, and that nobody is reading by now."""
        while self._old and self._old[0][0] <= time.monotonic():
            self._old.popleft()[1].unlink(missing_ok=True)

    def uris(self) -> set[str]:
        """Return the items that have a row."""
        found: set[str] = set()
        for number in list(self._revisions):
            tables = self._tables_of(number)
            found.update(tables["recordings"]["uri"].to_pylist() if tables else ())
        return found

    def _tables_of(self, number: int) -> Tables | None:
        return self._newest if number == self._number else self._read(number)

    def _write(self, number: int, tables: Tables) -> None:
        """Let a part count that has these rows, instead of what it had before."""
        before = self._revisions.get(number)
        now = 1 if before is None else before + 1
        try:
            for name in KEPT_TABLES:
                file = io.BytesIO()
                pq.write_table(tables[name], file, compression="zstd")
                write_private(self._path(name, number, now), file.getvalue(), durable=True)
            if before is None:
                write_private(self._path(COMMITS, number, now), b"{}\n", durable=True)
            else:
                os.replace(self._path(COMMITS, number, before), self._path(COMMITS, number, now))
                sync_folder(self._folder / COMMITS)
        except BaseException:
            for name in KEPT_TABLES:
                with suppress(OSError):
                    self._path(name, number, now).unlink(missing_ok=True)
            raise
        self._revisions[number] = now
        if before is not None:
            self._retire(number, before)

    def _drop(self, number: int) -> None:
        revision = self._revisions[number]
        self._path(COMMITS, number, revision).unlink(missing_ok=True)
        del self._revisions[number]
        self._retire(number, revision)

    def _retire(self, number: int, revision: int) -> None:
        """Remove a part that does not count any more, a little later."""
        until = time.monotonic() + _STAYS_S
        self._old += ((until, self._path(name, number, revision)) for name in KEPT_TABLES)
        self.remove_old()

    def _read(self, number: int) -> Tables | None:
        """Return a part; None if it is damaged: then it does not count any more, since nothing could be read beside it."""
        revision = self._revisions[number]
        try:
            return {name: _table(self._path(name, number, revision)) for name in KEPT_TABLES}
        except (FileNotFoundError, pa.ArrowException) as error:
            _log.warning("a part of what was kept is damaged, and does not count any more: %s", one_line(error))
            self._drop(number)
            return None

    def _listed(self, folder: str) -> Iterator[tuple[int, int]]:
        """Yield number and revision of the files of this writer."""
        for path in (self._folder / folder).iterdir():
            found = _STEM.fullmatch(path.stem)
            if found and int(found[1]) == self._slot:
                yield int(found[2]), int(found[3])

    def _path(self, folder: str, number: int, revision: int) -> Path:
        suffix = "json" if folder == COMMITS else "parquet"
        return self._folder / folder / f"w{self._slot}p{number}r{revision}.{suffix}"


def judged_by(folder: Path) -> set[tuple[str, int, str]]:
    """Return model, version and calibration of all that is kept in a folder, by any writer; damaged parts are left out."""
    found: set[tuple[str, int, str]] = set()
    for path in (folder / "windows").glob("*.parquet"):
        with suppress(OSError, pa.ArrowException):
            rows = _table(path).select(["model", "model_version", "calibration_id"]).to_pydict()
            found.update(zip(*rows.values(), strict=True))
    return found


def _table(path: Path) -> Any:
    with pq.ParquetFile(path) as file:
        return file.read()


def _empty() -> Tables:
    return {name: schema.empty_table() for name, schema in KEPT_TABLES.items()}

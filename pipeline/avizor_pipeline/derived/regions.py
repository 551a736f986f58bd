"""Write regions.parquet: the stretches of recordings in which windows are flagged, those that overlap or touch as one.

A recording may have any number of them, so they are no column of `recordings/`: what is added up of a recording does not grow
with it (docs/decisions/0098-regions-are-a-table-of-their-own.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avizor_inference.job_tables import REGIONS
from avizor_pipeline.sinks.output_files import OutputPath, files_of, publish, read_part, temporary_for
from avizor_pipeline.sinks.part_files import shard_of
from avizor_pipeline.sinks.write_errors import writing

REGIONS_FILE = "regions.parquet"

_READ = ["uri", "source", "channel", "start_sample", "end_sample", "start_s", "end_s", "model", "score", "p_value"]
_ORDER = [(name, "ascending") for name in ("uri", "model", "channel", "start_sample")]

# Rows that are written at once.
_AT_ONCE = 4096

_Row = dict[str, Any]


def write_regions(out: OutputPath) -> None:
    """Write the file of the job in `out`, whose parts are all there. Raises JobError if the disk refuses it.

    Memory: the flagged windows of one part.
    """
    path = out / REGIONS_FILE
    temporary = temporary_for(path)
    with writing(path):
        with pq.ParquetWriter(temporary, REGIONS, compression="zstd") as writer:
            regions = _regions(out)
            while rows := list(islice(regions, _AT_ONCE)):
                writer.write_table(pa.Table.from_pylist(rows, REGIONS))
        publish(temporary, path)


def _regions(out: OutputPath) -> Iterator[_Row]:
    """Yield the regions, recording by recording. A long one is in several parts, which follow each other."""
    for _, of_shard in groupby(files_of(out / "windows", ".parquet"), key=lambda part: shard_of(part.stem)):
        windows = (window for part in of_shard for window in _flagged(part))
        for _, of_recording in groupby(windows, key=itemgetter("uri")):
            yield from _joined(of_recording)


def _joined(windows: Iterator[_Row]) -> Iterator[_Row]:
    """Yield the regions of one recording. windows: of a model and a channel in the order of their time."""
    last: dict[tuple[str, int], _Row] = {}
    for window in windows:
        key = (window["model"], window["channel"])
        if key in last and window["start_sample"] <= last[key]["end_sample"]:
            _extend(last[key], window)
            continue
        if key in last:
            yield last[key]
        last[key] = {**window, "windows": 1}
    yield from last.values()


def _flagged(part: OutputPath) -> Iterator[_Row]:
    """Yield the flagged windows of the recordings of a part, those of a channel in the order of their time."""
    rows = read_part(part, [*_READ, "is_anomaly"], pc.field("is_anomaly") & pc.field("start_sample").is_valid())
    yield from rows.select(_READ).sort_by(_ORDER).to_pylist()


def _extend(region: _Row, window: Mapping[str, Any]) -> None:
    region["end_sample"], region["end_s"] = window["end_sample"], window["end_s"]
    region["windows"] += 1
    region["score"], region["p_value"] = max(region["score"], window["score"]), min(region["p_value"], window["p_value"])

"""Write the flagged windows as tables that sound editors open: Raven's selection tables and Audacity's label tracks.

There is one file for each recording with a flagged window, below OUT/raven or OUT/audacity; `item_file_name` names it. The
folder is written under a temporary name and published: by one rename on a disk, file by file on a store.

* Raven: tab-separated with a header; channels count from 1; the frequencies are all that the model hears.
* Audacity: start, end and text of a label in each line, tab-separated; there is no header.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from avizor_inference.items.item_names import item_file_name
from avizor_pipeline.models import JobModel
from avizor_pipeline.sinks.output_files import OutputPath, files_of, publish_folder, read_part, temporary_for
from avizor_pipeline.sinks.write_errors import writing

_READ = ["uri", "channel", "start_s", "end_s", "model", "score", "p_value"]
_ORDER = [(name, "ascending") for name in ("uri", "start_s", "channel", "model")]


@dataclass(frozen=True)
class TableFormat:
    """Describes a kind of table. name: of its folder, and of the option's value."""

    name: str
    suffix: str
    header: str

    def line(self, number: int, window: Mapping[str, Any], highest_hz: float) -> str:
        """Return the line of a flagged window. number: of the line, from 1. highest_hz: half the model's sample rate."""
        start, end, model = f"{window['start_s']:.6f}", f"{window['end_s']:.6f}", window["model"]
        channel = window["channel"] + 1
        if self is AUDACITY:
            return f"{start}\t{end}\t{model} p={window['p_value']:.3g}" + (f" channel {channel}" if channel > 1 else "")
        cells = [number, "Spectrogram 1", channel, start, end, "0.0", f"{highest_hz:.1f}"]
        path = " ".join(window["uri"].split())  # a tab in it would be a column
        return "\t".join(map(str, [*cells, path, model, f"{window['score']:.6g}", f"{window['p_value']:.6g}"]))


RAVEN = TableFormat(
    "raven",
    ".selections.txt",
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
    "\tBegin Path\tAnnotation\tScore\tP Value",
)
AUDACITY = TableFormat("audacity", ".labels.txt", "")
FORMATS = {each.name: each for each in (RAVEN, AUDACITY)}


def write_label_tables(out: OutputPath, format: TableFormat, models: Sequence[JobModel]) -> None:
    """Write the folder of the job in `out`, whose parts are all there. Raises JobError if the disk refuses it.

    Models without a sample rate have no times, and so no labels. Memory: the flagged windows of one part.
    """
    highest = {model.name: model.format.sample_rate / 2 for model in models if model.format and model.format.sample_rate}
    folder = out / format.name
    temporary = temporary_for(folder)
    with writing(folder):
        temporary.mkdir()
        for uri, windows in _flagged(out, list(highest)):
            _append(temporary / item_file_name(uri, format.suffix), format, windows, highest)
        publish_folder(temporary, folder)


def _flagged(out: OutputPath, models: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the flagged windows of each recording, by their start. A recording in several parts is yielded for each."""
    wanted = pc.field("is_anomaly") & pc.field("model").isin(models)
    for part in files_of(out / "windows", ".parquet") if models else ():
        rows = read_part(part, [*_READ, "is_anomaly"], wanted).select(_READ).sort_by(_ORDER).to_pylist()
        for uri, windows in groupby(rows, key=itemgetter("uri")):
            yield uri, list(windows)


def _append(path: Path, format: TableFormat, windows: Sequence[Mapping[str, Any]], highest: Mapping[str, float]) -> None:
    with path.open("a+", encoding="utf-8") as file:
        file.seek(0)
        lines = sum(1 for _ in file)
        if not lines and format.header:
            file.write(format.header + "\n")
            lines = 1
        first = lines if format.header else lines + 1
        for number, window in enumerate(windows, first):
            file.write(format.line(number, window, highest[window["model"]]) + "\n")

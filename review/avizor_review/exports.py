"""Write the answers that were given as files for other programs: CSV, tables of Raven, labels of Audacity, labelled data.

* csv: a line for each answer of each reviewer.
* labels: a line for each file that was called normal or abnormal, for `avizor export --evaluate-on`.
* raven, audacity: a folder with a file for each answered recording; its flagged windows are labelled with the answer, or its
  most unusual one if none is flagged.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from avizor_inference.durable_files import make_folder, write_text
from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError
from avizor_inference.items.file_access import path_of
from avizor_inference.items.item_names import item_file_name
from avizor_inference.review_answers import Answers, ItemKey
from avizor_review.tables import Tables

ExportFormat = Literal["csv", "labels", "raven", "audacity"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)

_CSV_COLUMNS = ("uri", "source", "model", "channel", "start_sample", "p_value", "score", "answer", "note", "reviewer", "time")

_RAVEN_HEADER = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
    "\tBegin Path\tAnnotation\tReviewer\tNote\tP Value"
)

# A spreadsheet takes a cell that begins so for a formula, and runs it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Exported(NamedTuple):
    """Counts what was written. left_out: answered items that the format has no place for."""

    written: int
    left_out: int


def export_answers(
    tables: Tables,
    answers: Answers,
    format: ExportFormat,
    out: Path,
) -> Exported:
    """Write the answers to `out`: a file, or a folder for raven and audacity, which may exist only if it is empty.

    Raises SettingsError if `out` cannot be written, JobError if a table cannot be read.
    """
    try:
        if format in ("csv", "labels"):
            if out.is_dir():
                raise SettingsError(f"{out} is a folder; give the name of a file")
            rows, left_out = _csv_rows(tables, answers) if format == "csv" else _labelled(answers)
            write_text(out, rows)
            return Exported(rows.count("\r\n") - 1, left_out)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise SettingsError(f"{out} is not an empty folder; choose another one")
        make_folder(out)
        return _label_files(tables, answers, format, out)
    except OSError as error:
        raise SettingsError(f"{out} cannot be written ({reason(error)})") from error


def _csv_rows(tables: Tables, answers: Answers) -> tuple[str, int]:
    keys = answers.answered()
    of_items = _item_values(tables, keys)
    lines = []
    for key in keys:
        source, p_value, score = of_items.get((key.uri, key.model), (None, None, None))
        for answer in answers.on(key):
            place = (key.model, key.channel, key.start_sample, p_value, score)
            said = (answer.answer, _safe(answer.note), _safe(answer.reviewer), answer.time.isoformat())
            lines.append((_as_path(key.uri), _safe(source or ""), *place, *said))
    return _csv([_CSV_COLUMNS, *lines]), 0


def _labelled(answers: Answers) -> tuple[str, int]:
    """Return a table of the files that all reviewers agree on, which `--evaluate-on FILE --path-column uri` reads."""
    lines, left_out = [], 0
    for key in answers.answered():
        verdict = answers.verdict(key)
        if verdict not in ("normal", "abnormal") or key.channel is not None:
            continue
        if path_of(key.uri).is_file() and not key.uri.startswith("bytes:"):
            lines.append((_as_path(key.uri), verdict))
        else:  # an item within a file of many, a file that is gone
            left_out += 1
    return _csv([("uri", "label"), *dict.fromkeys(lines)]), left_out


def _label_files(
    tables: Tables,
    answers: Answers,
    format: ExportFormat,
    out: Path,
) -> Exported:
    written = 0
    by_uri: dict[str, list[ItemKey]] = {}
    for key in answers.answered():
        by_uri.setdefault(key.uri, []).append(key)
    for uri, keys in by_uri.items():
        lines = [*_window_lines(tables, answers, format, uri, keys)]
        if not lines:
            continue
        header = f"{_RAVEN_HEADER}\n" if format == "raven" else ""
        suffix = ".selections.txt" if format == "raven" else ".labels.txt"
        (out / item_file_name(uri, suffix)).write_text(header + "".join(f"{line}\n" for line in lines), encoding="utf-8")
        written += 1
    return Exported(written, len(by_uri) - written)


def _window_lines(
    tables: Tables,
    answers: Answers,
    format: ExportFormat,
    uri: str,
    keys: Sequence[ItemKey],
) -> Iterator[str]:
    sql = (
        "select model, channel, start_sample, start_s, end_s, end_sample / end_s / 2 as highest_hz, p_value from windows "
        "where uri = $uri and model in (select unnest($models)) and end_s > 0 and p_value is not null "
        "qualify is_anomaly or row_number() over (partition by model order by p_value, score desc) = 1 "
        "order by start_s, channel, model"
    )
    number, models = 0, sorted({key.model for key in keys})
    for model, channel, start_sample, start_s, end_s, highest_hz, p_value in tables.rows(sql, {"uri": uri, "models": models}):
        of_window = ItemKey(uri, model, channel, start_sample)
        key = of_window if answers.on(of_window) else ItemKey(uri, model)
        if (verdict := answers.verdict(key)) is None:
            continue
        number += 1
        start, end = f"{start_s:.6f}", f"{end_s:.6f}"
        said = answers.on(key)
        who = _one_line(", ".join(each.reviewer for each in said))
        notes = _one_line("; ".join(each.note for each in said if each.note))
        if format == "audacity":
            yield f"{start}\t{end}\t{verdict} {model} p={p_value:.3g}" + (f" channel {channel + 1}" if channel else "")
        else:
            place = (number, "Spectrogram 1", channel + 1, start, end, "0.0", f"{highest_hz:.1f}")
            yield "\t".join(map(str, (*place, _one_line(uri), verdict, who, notes, f"{p_value:.6g}")))


def _item_values(tables: Tables, keys: Sequence[ItemKey]) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Return source, p-value and score of each item by uri and model."""
    sql = (
        "select uri, model, source, p_value, score from recordings "
        "where (uri, model) in (select unnest($uris::varchar[]), unnest($models::varchar[]))"
    )
    values = {"uris": [key.uri for key in keys], "models": [key.model for key in keys]}
    return {(uri, model): tuple(rest) for uri, model, *rest in tables.rows(sql, values)}


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _safe(text: str) -> str:
    """Return a cell that no spreadsheet runs."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _as_path(uri: str) -> str:
    """Return the path of an item, which leads to the same file, and is no formula."""
    return f"./{uri}" if uri.startswith(_FORMULA) else uri


def _one_line(text: str) -> str:
    """Return a cell of a table that is separated by tabs."""
    return " ".join(text.split())

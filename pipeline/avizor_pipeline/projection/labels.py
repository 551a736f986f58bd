"""Find the label of each point: what the model predicted, the source, or the truth from a file or from the name of the item."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from avizor_inference.errors import SettingsError
from avizor_inference.items.file_access import name_of

PREDICTED, SOURCE = "predicted", "source"

# Columns of a file of labels. Either of the first two names an item.
_URI, _PATH, _LABEL = "uri", "path", "label"


@dataclass(frozen=True, eq=False)
class Labels:
    """Holds labels of points. what: where they are from. names: sorted. codes: int64[n], places in `names`; -1: no label."""

    what: str
    names: tuple[str, ...]
    codes: NDArray[np.int64]

    @property
    def texts(self) -> pa.Array:
        """Return the labels as strings, null without one."""
        return pa.array([self.names[code] if code >= 0 else None for code in self.codes.tolist()], pa.string())


def labels_of(rows: pa.Table, what: str | None, pattern: str) -> Labels | None:
    """Return the labels of the rows of windows/; None if none were asked for and there are none.

    what: `predicted`, `source`, or the path of a CSV or Parquet file with the columns `uri` (or `path`) and `label`. pattern: a
    regular expression whose first group, searched in the uri, is the label. Raises SettingsError.
    """
    if pattern:
        if what is not None:
            raise SettingsError("--label and --label-pattern say both what the labels are; give one of them")
        return _coded(f"the uri by '{pattern}'", _by_pattern(rows["uri"], pattern))
    if what is None:
        for each in (PREDICTED, SOURCE):
            found = _of_column(rows, each)
            if len(found.names) > 1:
                return found
        return None
    if what in (PREDICTED, SOURCE):
        found = _of_column(rows, what)
        if not found.names:
            raise SettingsError(f"--label {what}: the model predicts no labels; name --label source, or a file of labels")
        return found
    return _coded(what, _of_file(rows["uri"], Path(what)))


def _of_column(rows: pa.Table, what: str) -> Labels:
    return _coded(what, rows["label" if what == PREDICTED else "source"].to_pylist())


def _coded(what: str, labels: list[str | None]) -> Labels:
    names = tuple(sorted({label for label in labels if label is not None}))
    places = {name: place for place, name in enumerate(names)}
    return Labels(what, names, np.array([-1 if label is None else places[label] for label in labels], np.int64))


def _by_pattern(uris: pa.ChunkedArray, pattern: str) -> list[str | None]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SettingsError(f"--label-pattern {pattern!r} is not a regular expression: {error}") from error
    if compiled.groups < 1:
        raise SettingsError(f"--label-pattern {pattern!r} has no group; put the label in parentheses")
    found = [compiled.search(uri) for uri in uris.to_pylist()]
    labels = [match.group(1) if match else None for match in found]
    if not any(labels):
        raise SettingsError(f"--label-pattern {pattern!r} matches no item, not {uris[0].as_py()}")
    return labels


def _of_file(uris: pa.ChunkedArray, path: Path) -> list[str | None]:
    """Return the labels that a file has for items. It names them as the job does, or by their paths below its folder."""
    table = _read(path)
    name = next((each for each in (_URI, _PATH) if each in table.column_names), None)
    if name is None or _LABEL not in table.column_names:
        raise SettingsError(f"{path} has the columns {', '.join(table.column_names)}; it needs `uri` (or `path`) and `label`")
    items, given = (_texts(path, table, each) for each in (name, _LABEL))
    by_uri: dict[str, str] = {}
    for item, label in zip(items, given, strict=True):
        if item and label and (other := by_uri.setdefault(_spelt(item), label)) != label:
            raise SettingsError(f"{path} has two labels for {item}, {other} and {label}; leave one of them out")
    below = {_spelt(name_of(str(path.parent / item))): label for item, label in by_uri.items()}
    spelt = [_spelt(uri) for uri in uris.to_pylist()]
    labels = [by_uri.get(uri, below.get(uri)) for uri in spelt]
    if not any(labels):
        raise SettingsError(f"{path} has labels for no item of the results, where they are named like {uris[0].as_py()}")
    return labels


def _texts(path: Path, table: pa.Table, name: str) -> list[str | None]:
    """Return a column as texts. Raises SettingsError if it is there twice, or holds something else, such as lists."""
    if table.column_names.count(name) > 1:
        raise SettingsError(f"{path} has more than one column {name!r}; leave one of them out")
    try:
        texts: list[str | None] = table[name].cast(pa.string()).to_pylist()
    except pa.ArrowException as error:
        kind = table.schema.field(name).type
        raise SettingsError(f"{path}: the column {name!r} holds {kind}, which is no text; write it as text") from error
    return texts


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() == ".csv":
            texts = pa.csv.ConvertOptions(column_types={name: pa.string() for name in (_URI, _PATH, _LABEL)})
            table = pa.csv.read_csv(path, convert_options=texts)
            list(table.column_names)  # decodes the header, which may be in another encoding
            return table
        if path.suffix.lower() == ".parquet":
            return pq.read_table(path)
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise SettingsError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    raise SettingsError(f"--label {path}: give `predicted`, `source`, or a file of labels that ends in .csv or .parquet")


def _spelt(uri: str) -> str:
    """Return a path in one spelling: `./a//b` is `a/b`. A URL stays as it is."""
    return uri if "://" in uri else str(PurePosixPath(uri))

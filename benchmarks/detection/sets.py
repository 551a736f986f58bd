"""Hold one set of the benchmark: normal items in four disjoint parts, and anomalies, all as features that every method gets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


class Items(NamedTuple):
    """Holds items of one or more windows.

    windows: float32[n, *shape]. owner: int64[n], the place of each window's item, from 0 on and in order.
    """

    windows: Rows
    owner: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Return the number of items."""
        return int(self.owner[-1]) + 1 if len(self.owner) else 0

    def part(self, first: int, last: int) -> Items:
        """Return the items from `first` on, up to and without `last`."""
        inside = (self.owner >= first) & (self.owner < last)
        return Items(self.windows[inside], self.owner[inside] - first)


def single(rows: NDArray[np.floating]) -> Items:
    """Return items of one window each."""
    return Items(rows.astype(np.float32), np.arange(len(rows)))


def of_recordings(recordings: Sequence[NDArray[np.floating]]) -> Items:
    """Return recordings, [windows, *shape] each, as items."""
    owner = np.repeat(np.arange(len(recordings)), [len(windows) for windows in recordings])
    return Items(np.concatenate(recordings).astype(np.float32), owner)


@dataclass(frozen=True)
class DetectionSet:
    """Holds the data of one training, with one seed.

    family: `tables`, `spoken digits`, `machine sounds`, `images`, `transfers` or `series`. normal: items of the test.
    anomalies: by the column of the table that they make; several columns share the training and the normal items.
    """

    name: str
    family: str
    train: Items
    statistics: Items
    calibration: Items
    normal: Items
    anomalies: Mapping[str, Items]

    @property
    def is_sound(self) -> bool:
        """Return whether a window is a log-mel: [1, bands, frames]."""
        return self.family in ("spoken digits", "machine sounds")

    def save(self, path: Path) -> None:
        """Write the set as one file, which appears whole."""
        arrays = {"name": np.array(self.name), "family": np.array(self.family)}
        parts = {name: getattr(self, name) for name in _PARTS} | {
            _ANOMALIES + name: part for name, part in self.anomalies.items()
        }
        for name, part in parts.items():
            arrays |= {f"{name}/windows": part.windows, f"{name}/owner": part.owner}
        temporary = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # numpy's stubs take the names for its options
        temporary.replace(path)

    @staticmethod
    def load(path: Path) -> DetectionSet:
        """Read a set that `save` wrote."""
        with np.load(path) as file:
            parts = {
                name.removesuffix("/owner"): Items(file[name.replace("/owner", "/windows")], file[name])
                for name in file.files
                if name.endswith("/owner")
            }
            columns = {name.removeprefix(_ANOMALIES): part for name, part in parts.items() if name.startswith(_ANOMALIES)}
            return of_parts(str(file["name"]), str(file["family"]), [parts[name] for name in _PARTS], columns)


def of_parts(name: str, family: str, normal: Sequence[Items], anomalies: Mapping[str, Items]) -> DetectionSet:
    """Return a set of the four parts of normal items in their order, and anomalies."""
    train, statistics, calibration, tested = normal
    return DetectionSet(name, family, train, statistics, calibration, tested, anomalies)


_PARTS = ("train", "statistics", "calibration", "normal")
_ANOMALIES = "anomalies/"

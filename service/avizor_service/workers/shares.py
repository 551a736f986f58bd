"""Say which part of a gateway one worker is: its number, where it meets the others, and its share of what cannot be shared."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from pathlib import Path

from avizor_service.settings import Settings

_FILE = "place-{}.pickle"


@dataclass(frozen=True)
class Place:
    """Holds the place of a worker among all: its number, from 1 on, of so many `workers`.

    folder: of files that all of them share. settings: of the whole gateway, with the port that was chosen.
    """

    number: int
    workers: int
    folder: Path
    settings: Settings
    metrics_address: str

    def share(self, count: int) -> int:
        """Return this worker's share of a count, at least 1. The shares of all add up to it, if it is at least their number."""
        whole, rest = divmod(count, self.workers)
        return max(1, whole + (self.number <= rest))

    def settings_of_worker(self) -> Settings:
        """Return the settings of this worker: processes that decode are divided."""
        return replace(self.settings, decoders=self.share(self.settings.decoders))

    def write(self) -> None:
        """Write it down for the process of the worker."""
        (self.folder / _FILE.format(self.number)).write_bytes(pickle.dumps(self))

    @staticmethod
    def read(folder: Path, number: int) -> Place:
        """Return what `write` wrote."""
        place = pickle.loads((folder / _FILE.format(number)).read_bytes())  # noqa: S301 - of the process that started this one
        assert isinstance(place, Place), "it was written by Place.write"
        return place

"""Hold which derived files a job is asked for, and write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from avizor_inference.errors import SettingsError
from avizor_pipeline.derived.label_tables import FORMATS, TableFormat, write_label_tables
from avizor_pipeline.derived.q_values import Q_VALUES_FILE, write_q_values
from avizor_pipeline.derived.regions import REGIONS_FILE, write_regions
from avizor_pipeline.models import JobModel
from avizor_pipeline.sinks.output_files import OutputPath


class _Table(NamedTuple):
    """Says what a table of flagged windows is called in the folder of the job, and what writes it."""

    file: str
    write: Callable[[OutputPath, Sequence[JobModel]], None]


def _labels(format: TableFormat) -> _Table:
    return _Table(f"{format.name}/", lambda out, models: write_label_tables(out, format, models))


_TABLES = {name: _labels(format) for name, format in FORMATS.items()} | {
    "regions": _Table(REGIONS_FILE, lambda out, _: write_regions(out))
}

# Names of the tables of flagged windows.
TABLE_NAMES = tuple(_TABLES)


@dataclass(frozen=True)
class WantedFiles:
    """Holds what is written at the end of a job besides its tables. They decide no rows, so a finished job may be asked again.

    tables: names in TABLE_NAMES.
    """

    q_values: bool = False
    tables: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Return what is written, as it is called in the folder of the job."""
        return [*[Q_VALUES_FILE] * self.q_values, *(_TABLES[name].file for name in self.tables)]

    def check(self, models: Sequence[JobModel]) -> None:
        """Raise SettingsError if all that is wanted would be empty."""
        if self.names and not any(model.calibration for model in models):
            raise SettingsError(
                f"{'--q-values' if self.q_values else '--tables'}: no model of the job has a calibration, and so nothing is "
                "flagged; leave the option out, or calibrate an autoencoder (avizor calibrate)"
            )

    def write(self, out: OutputPath, models: Sequence[JobModel]) -> None:
        """Write the files of the job in `out`, whose parts are all there. Raises JobError if the disk refuses one."""
        if self.q_values:
            write_q_values(out)
        for name in self.tables:
            _TABLES[name].write(out, models)

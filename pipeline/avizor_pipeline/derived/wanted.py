"""Hold which derived files a job is asked for, and write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avizor_pipeline.derived.label_tables import FORMATS, write_label_tables
from avizor_pipeline.derived.q_values import write_q_values
from avizor_pipeline.models import JobModel
from avizor_pipeline.sinks.output_files import OutputPath


@dataclass(frozen=True)
class WantedFiles:
    """Holds what is written at the end of a job besides its tables. They decide no rows, so a finished job may be asked again.

    tables: names in `label_tables.FORMATS`.
    """

    q_values: bool = False
    tables: tuple[str, ...] = ()

    def write(self, out: OutputPath, models: Sequence[JobModel]) -> None:
        """Write the files of the job in `out`, whose parts are all there. Raises JobError if the disk refuses one."""
        if self.q_values:
            write_q_values(out)
        for name in self.tables:
            write_label_tables(out, FORMATS[name], models)

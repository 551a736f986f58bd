"""Say at the end of a job whether all that it has committed is still there: a tidy hand may have removed some of it."""

from __future__ import annotations

import logging

from avizor_inference.errors import JobError
from avizor_inference.job_results import COMMITS, JOB_FILE
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_files import OutputPath, files_of, write_whole
from avizor_pipeline.sinks.part_files import TABLES, Commit
from avizor_pipeline.sinks.write_errors import reading, writing

_log = logging.getLogger(__name__)


class KeptFiles:
    """Remembers the names of the files of a job's shards: some hundred bytes for each."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {folder: set() for folder in (COMMITS, *TABLES)}

    def add(self, commit: Commit) -> None:
        """Expect the record of a shard, and its parts."""
        self._names[COMMITS].add(f"{commit.shard}.json")
        for part in commit.sha256:
            table, _, name = part.partition("/")
            self._names[table].add(name)

    def check(self, out: OutputPath, settings: JobSettings) -> None:
        """Look which names are there, not what is in the files. A missing job.json is written again.

        Raises JobError if a part or a record is gone: else the job would end well, with tables that lack rows.
        """
        with reading(out):
            gone = [str(out / folder / name) for folder in self._names for name in self._missing(out, folder)]
            is_lost = not (out / JOB_FILE).exists()
        if is_lost:
            _log.warning("%s was removed while the job ran, and is written again", out / JOB_FILE)
            with writing(out / JOB_FILE):
                write_whole(out / JOB_FILE, settings.model_dump_json(indent=2) + "\n")
        if gone:
            others = f" (and more: {len(gone)} files)" if len(gone) > 1 else ""
            raise JobError(
                f"{gone[0]}{others} was removed while the job ran: run the same command again, which computes what is missing"
            )

    def _missing(self, out: OutputPath, folder: str) -> list[str]:
        expected, suffix = self._names[folder], ".json" if folder == COMMITS else ".parquet"
        return sorted(expected.difference(path.name for path in files_of(out / folder, suffix))) if expected else []

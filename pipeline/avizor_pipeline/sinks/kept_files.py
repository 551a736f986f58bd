"""Say at the end of a job whether all that it has committed is still there: a tidy hand may have removed some of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from avizor_inference.errors import AvizorError, JobError
from avizor_inference.job_results import COMMITS, JOB_FILE
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_files import OutputPath, files_of
from avizor_pipeline.sinks.output_folder import write_job_file
from avizor_pipeline.sinks.part_files import TABLES, Commit
from avizor_pipeline.sinks.write_errors import reading, writing

_log = logging.getLogger(__name__)

# Stands for the name of a shard in those of its files.
_SHARD = "*"


class KeptFiles:
    """Remembers which files the shards of a job have. Most have the same, so it is hardly more than their names."""

    def __init__(self) -> None:
        self._shards: dict[str, tuple[str, ...]] = {}
        self._same: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(self, commit: Commit) -> None:
        """Expect the record of a shard, and its parts."""
        files = tuple(name.replace(commit.shard, _SHARD) for name in (f"{COMMITS}/{commit.shard}.json", *commit.sha256))
        self._shards[commit.shard] = self._same.setdefault(files, files)

    def check(self, out: OutputPath) -> None:
        """Look which names are there, not what is in the files.

        Raises JobError if a part or a record is gone: else the job would end well, with tables that lack rows.
        """
        with reading(out):
            gone = [name for folder in (COMMITS, *TABLES) for name in self._missing(out, folder)]
        if gone:
            others = f" (and more: {len(gone)} files)" if len(gone) > 1 else ""
            raise JobError(
                f"{out / gone[0]}{others} was removed while the job ran: run the same command again, which computes what is "
                "missing"
            )

    @contextmanager
    def with_job_file(self, out: OutputPath, settings: JobSettings) -> Iterator[None]:
        """Write job.json again when a job with shards ends, well or not, if it is gone: without it nobody can go on."""
        try:
            yield
        except AvizorError:
            with suppress(JobError):  # that of the job says more
                self._restore(out, settings)
            raise
        self._restore(out, settings)

    def _restore(self, out: OutputPath, settings: JobSettings) -> None:
        with reading(out):
            if not self._shards or (out / JOB_FILE).exists():
                return
        _log.warning("%s was removed while the job ran, and is written again", out / JOB_FILE)
        with writing(out / JOB_FILE):
            write_job_file(out, settings)

    def _missing(self, out: OutputPath, folder: str) -> list[str]:
        """Return the names below `out` of files that are not in a folder."""
        suffix, of_folder = ".json" if folder == COMMITS else ".parquet", f"{folder}/"
        expected = (
            file.replace(_SHARD, shard) for shard, files in self._shards.items() for file in files if file.startswith(of_folder)
        )
        there = {of_folder + path.name for path in files_of(out / folder, suffix)} if self._shards else set()
        return sorted(name for name in expected if name not in there)

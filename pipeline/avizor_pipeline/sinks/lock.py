"""Let one job at a time use an output folder: by locks of the kernel on a disk, by an object that is renewed on a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avizor_pipeline.sinks.file_lock import LOCK_FILE, file_lock, hold_file_as_worker
from avizor_pipeline.sinks.lease import StillHeld, lease, nobody_holds
from avizor_pipeline.sinks.output_files import OutputPath

__all__ = ["LOCK_FILE", "hold_as_worker", "job_lock"]


@contextmanager
def job_lock(out: OutputPath, *, make: bool = True) -> Iterator[StillHeld]:
    """Hold `out` for one job; yield a check that raises JobError if another job has taken it over.

    make: whether to lock it if no job has yet; if not, nothing is written. Raises JobError while another job, or the workers of
    a killed one, hold it.
    """
    if isinstance(out, Path):
        with file_lock(out, out, make=make):
            yield lambda: None
    elif make:
        with lease(out) as still_held:
            yield still_held
    else:
        nobody_holds(out)
        yield lambda: None


def hold_as_worker(out: OutputPath) -> None:
    """Mark `out` as written to by a worker, until this process ends."""
    hold_file_as_worker(out if isinstance(out, Path) else out.working_folder())

"""Let one job at a time use an output folder: by locks of the kernel on a disk, by an object that is renewed on a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avizor_pipeline.sinks.file_lock import (
    LOCK_FILE,
    Holder,
    file_lock,
    hold_file_as_worker,
    lock_state,
    no_worker_in,
    same_folder,
)
from avizor_pipeline.sinks.lease import StillHeld, lease, lease_holder, nobody_holds, remove_unsent
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.write_errors import writing

__all__ = ["LOCK_FILE", "hold_as_worker", "job_lock", "prepare_for_workers", "who_holds"]


@contextmanager
def job_lock(out: OutputPath, *, make: bool = True, workers_elsewhere: bool = False) -> Iterator[StillHeld]:
    """Hold `out` for one job; yield a check that raises JobError if another job has taken it over, or if it is gone.

    make: whether to lock it if no job has yet; if not, nothing is written. workers_elsewhere: whether the job has workers on
    other machines. Raises JobError while another job, or the workers of a killed one, hold it.
    """
    if isinstance(out, Path):
        with file_lock(out, out, make=make):
            yield same_folder(out) if make else lambda: None
    elif make:
        with lease(out, workers_elsewhere=workers_elsewhere) as still_held:
            yield still_held
    else:
        nobody_holds(out)
        yield lambda: None


def who_holds(out: OutputPath) -> str:
    """Return what tells the job that holds `out` from every other one; "" if none does. Raises OSError."""
    if isinstance(out, Path):
        return lock_state(out)
    holder = lease_holder(out)
    return Holder(**holder.model_dump(include={*Holder.model_fields})).model_dump_json() if holder else ""


def prepare_for_workers(out: OutputPath) -> None:
    """Let workers of this machine hold `out`, which a job on another machine holds. Raises JobError, OSError."""
    if not isinstance(out, Path):
        with writing(out):
            folder = out.working_folder()
        with no_worker_in(folder) as unused:
            if unused:
                remove_unsent(folder)


def hold_as_worker(out: OutputPath) -> None:
    """Mark `out` as written to by a worker, until this process ends."""
    hold_file_as_worker(out if isinstance(out, Path) else out.working_folder())

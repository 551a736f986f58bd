"""Arrange a job under a ceiling of memory for all its processes: how many workers, of what size, and rows in a batch.

Fewer rows in a batch cost less speed than fewer workers, so they come first (decision 41). What is left over is shared among
the workers: it is for files that need more than those that were measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from avizor_inference.errors import SettingsError
from avizor_inference.items.object_path import ObjectPath
from avizor_inference.object_store import is_url
from avizor_pipeline.memory_probe import Needs, measure
from avizor_pipeline.models import open_models, runs_on_gpu
from avizor_pipeline.plan import Plan, counted
from avizor_pipeline.process_memory import can_measure, memory_use, prepare_children
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.row_groups import GROUP_BYTES

MIB = 2**20

# What the process of the job may grow by while its workers run; multiprocessing's own process; libraries that are loaded late.
_PARENT_GROWS, _TRACKER, _LIBRARIES = 24 * MIB, 8 * MIB, 8 * MIB

# What decoding needs at least: blocks of sound, resampling, Python's own objects.
_DECODING = 16 * MIB

# What a worker has for rows: a row group as Python's objects, and what Arrow and Parquet make of it (measured: 32 MiB).
_ROWS = GROUP_BYTES + 32 * MIB

# What a worker has of objects, besides threads: those that are read ahead (measured: 58 MiB), and a part that is sent (24 MiB).
_FETCHING, _SENDING = 64 * MIB, 24 * MIB

# The least that would do is given in steps, as two measurements differ a little.
_STEP = 16 * MIB

_NO_LIMIT = 2**62


@dataclass(frozen=True)
class Arrangement:
    """Holds how a job is run under a ceiling. settings, plan: with the batches that fit.

    worker_bytes: that each worker may have by itself. too_large: uris of files that need more than there is.
    """

    settings: JobSettings
    plan: Plan
    workers: int
    worker_bytes: int
    too_large: Sequence[str] = ()


def arrange(settings: JobSettings, out: OutputPath, plan: Plan, workers: int, ceiling: int, *, pinned: bool) -> Arrangement:
    """Measure what a worker needs, and fit as many as possible of at most `workers` under a ceiling in bytes.

    out: of the job. pinned: whether batches must stay as they are, since a job has begun with them or the user chose them.
    Raises SettingsError, with the least ceiling that would do, if it cannot be kept, or if this system cannot measure, or for
    models on a GPU.
    """
    if not can_measure():
        raise SettingsError("--memory needs Linux, which tells what a process uses; leave it out, and use fewer --workers")
    prepare_children()
    if any(runs_on_gpu(settings, model) for model in open_models(settings)):
        raise SettingsError("--memory is for models on the CPU; leave it out, or choose --device cpu")
    largest = max(choice.batch_size for choice in settings.models)
    sizes = [largest] if pinned else sizes_of(largest)
    parent = memory_use()
    outside = parent.own + _PARENT_GROWS + _TRACKER + _LIBRARIES
    needs = measure(settings, sizes, plan.largest, max(0, ceiling - outside - parent.files)) or Needs()
    needs = replace(needs, base=needs.base + (stores := _for_stores(out, plan)))
    fixed = outside + max(parent.files, needs.files)
    if (found := fit(needs, workers, ceiling - fixed)) is None:
        raise _too_little(settings, sizes[0], ceiling, outside, parent.files, stores)
    size, count = found
    share = (ceiling - fixed) // count
    fitted = _with_batches(settings, size)
    if fitted != settings:  # ids of shards are of the settings
        plan = counted(fitted, plan.rounds, plan.new, plan.moved, plan.left_out, plan.changes)
    too_large = [uri for uri, need in needs.decoding.items() if _worker(needs, size, need) > share]
    return Arrangement(fitted, plan, count, share, too_large)


def fit(needs: Needs, workers: int, there: int) -> tuple[int, int] | None:
    """Return the rows of a batch and the workers; None if not even one fits. there: bytes for all workers.

    If the largest files fit in no arrangement, one is made without them: they may become dead letters.
    """
    for decoding in (max(needs.decoding.values(), default=0), 0):
        for count in range(workers, 0, -1):
            for size in sorted(needs.rows, reverse=True):
                if _worker(needs, size, decoding) * count <= there:
                    return size, count
    return None


def _for_stores(out: OutputPath, plan: Plan) -> int:
    """Return what a worker needs for objects: it is not seen when one file is decoded."""
    fetches = any(is_url(entry.file) for entry in plan.largest)
    return fetches * _FETCHING + isinstance(out, ObjectPath) * _SENDING


def _too_little(settings: JobSettings, size: int, ceiling: int, outside: int, files: int, stores: int) -> SettingsError:
    """Return the error of a ceiling that cannot be kept. It is measured without a limit, to say what would do."""
    needs = measure(settings, [size], (), _NO_LIMIT)
    if needs is None or not needs.rows:
        return SettingsError("--memory: there is not enough memory to run the models once; use a larger machine")
    enough = outside + max(files, needs.files) + _worker(needs, size, 0) + stores
    rows = "1 row" if size == 1 else f"{size} rows"
    return SettingsError(
        f"--memory {ceiling // MIB}MiB is less than this job needs with one worker and batches of {rows}: give at least "
        f"{-(-enough // _STEP) * _STEP // MIB}MiB"
    )


def sizes_of(largest: int) -> list[int]:
    """Return 1, 2, 4, and so on, and the largest."""
    return [*(2**power for power in range(largest.bit_length()) if 2**power < largest), largest]


def _worker(needs: Needs, size: int, decoding: int) -> int:
    return needs.base + needs.rows[size] + max(decoding, _DECODING) + _ROWS


def _with_batches(settings: JobSettings, size: int) -> JobSettings:
    models = [choice.model_copy(update={"batch_size": min(size, choice.batch_size)}) for choice in settings.models]
    return settings.model_copy(update={"models": tuple(models)})

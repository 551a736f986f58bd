"""Say before a run begins what memory it may take."""

from __future__ import annotations

from avizor_inference.this_machine import available_memory
from avizor_pipeline.memory_share import MIB, Arrangement
from avizor_pipeline.process_memory import can_measure, memory_use


def arrangement_lines(arranged: Arrangement) -> list[str]:
    """Return how a job fits under its ceiling."""
    workers = f"{arranged.workers} worker{'s' * (arranged.workers > 1)} of at most {arranged.worker_bytes // MIB} MiB"
    batches = ", ".join(f"{choice.name} {choice.batch_size}" for choice in arranged.settings.models)
    lines = [f"--memory: {workers}; rows in a batch: {batches}"]
    if arranged.too_large:
        names = ", ".join(arranged.too_large)
        lines.append(f"may be dead letters for lack of memory, unless --memory is larger: {names}")
    return lines


def memory_notes(workers: int) -> list[str]:
    """Return a line if so many workers plainly need more than there is: this process has had the models open as they have."""
    if not can_measure():
        return []
    needed, there = memory_use().own_peak * workers, available_memory()
    if needed <= there:
        return []
    note = (
        f"{workers} workers need more than {needed // MIB} MiB, and {there // MIB} MiB are free: use fewer --workers, or say "
        "with --memory what they may take"
    )
    return [note]

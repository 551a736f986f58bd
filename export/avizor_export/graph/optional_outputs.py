"""Outputs that a version can be published without, so that a fault in one of them does not prevent the export of the others."""

from __future__ import annotations

from collections.abc import Sequence

from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import Task

OPTIONAL: dict[Task, tuple[str, ...]] = {"classify": ("embedding", "activations"), "reconstruct": ("embedding",)}


def check_left_out(names: Sequence[str], task: Task) -> None:
    """Raise ExportError if one of these outputs is required for the task."""
    for name in names:
        if name not in OPTIONAL[task]:
            raise ExportError(f"{name} cannot be left out where the task is {task}; {' and '.join(OPTIONAL[task])} can")


def or_left_out(*names: str) -> str:
    """Return the end of an error message: how to publish without these outputs. Empty if one of them is required."""
    if not names or not all(name in OPTIONAL["classify"] for name in names):
        return ""
    options = " ".join(f"--leave-out {name}" for name in names)
    return f"; or publish without {' and '.join(names)}: {options}"

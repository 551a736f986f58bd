"""Outputs that a version may be without: nobody asked for them, and what is wrong with them need not keep the others back."""

from __future__ import annotations

from collections.abc import Sequence

from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import Task

OPTIONAL: dict[Task, tuple[str, ...]] = {"classify": ("embedding", "activations"), "reconstruct": ("embedding",)}


def check_left_out(names: Sequence[str], task: Task) -> None:
    """Raise ExportError naming what no version of this task can be without."""
    for name in names:
        if name not in OPTIONAL[task]:
            raise ExportError(f"{name} cannot be left out where the task is {task}; {' and '.join(OPTIONAL[task])} can")


def or_left_out(*names: str) -> str:
    """The way out where nothing but these outputs is wrong; empty where one of them has to be there."""
    if not names or not all(name in OPTIONAL["classify"] for name in names):
        return ""
    options = " ".join(f"--leave-out {name}" for name in names)
    return f"; or publish without {' and '.join(names)}: {options}"

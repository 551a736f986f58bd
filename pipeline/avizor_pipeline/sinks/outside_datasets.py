"""Refuse folders for results that are within a dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from avizor_inference.errors import SettingsError
from avizor_inference.items.file_access import path_of
from avizor_pipeline.sinks.output_files import OutputPath


def check_outside(option: str, folder: OutputPath, roots: Iterable[str]) -> None:
    """Raise SettingsError if a folder that a job writes is within one that it reads: the next run would read its results."""
    for root in roots:
        if isinstance(folder, Path):
            is_within = _is_within(folder, path_of(root))
        else:
            is_within = f"{folder}/".startswith(f"{root.rstrip('/')}/")
        if is_within:
            raise SettingsError(f"{option} {folder} is within {root}: the next run would read its results; choose another one")


def _is_within(folder: Path, root: Path) -> bool:
    """Return whether a walk through `root`, which follows links, comes to a folder: by its name, or to where that leads."""
    return root.is_dir() and any(
        there in (place, *place.parents)
        for there, place in (
            (root.absolute(), folder.absolute()),
            (Path(os.path.realpath(root)), Path(os.path.realpath(folder))),  # which never fails, as resolve() does
        )
    )

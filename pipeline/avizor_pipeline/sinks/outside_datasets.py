"""Refuse folders for results that are within a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from avizor_inference.errors import SettingsError
from avizor_inference.items.file_access import path_of
from avizor_pipeline.sinks.output_files import OutputPath


def check_outside(option: str, folder: OutputPath, roots: Iterable[str]) -> None:
    """Raise SettingsError if a folder that a job writes is within one that it reads: the next run would read its results."""
    for root in roots:
        if isinstance(folder, Path):
            place, path = folder.absolute(), path_of(root)
            is_within = path.is_dir() and path.absolute() in (place, *place.parents)
        else:
            is_within = f"{folder}/".startswith(f"{root.rstrip('/')}/")
        if is_within:
            raise SettingsError(f"{option} {folder} is within {root}: the next run would read its results; choose another one")

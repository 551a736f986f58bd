"""Keep the list of files that comes from standard input while it is read, so that it is listed like a file."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from avizor_inference.durable_files import flush_and_rename, make_folder, temporary_name
from avizor_inference.items.file_access import name_of

STANDARD_INPUT = "-"
INPUT_FILE = "stdin.txt"


def with_kept_list(datasets: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Return the datasets with the kept list for `-`."""
    return tuple(name_of(str(folder / INPUT_FILE)) if each == STANDARD_INPUT else each for each in datasets)


def keep_list(stream: BinaryIO, folder: Path) -> None:
    """Write standard input into the folder, which is made if it is missing; an older list is replaced. Raises OSError."""
    make_folder(folder)
    temporary = temporary_name(folder / INPUT_FILE)
    with temporary.open("wb") as file:
        shutil.copyfileobj(stream, file)
    flush_and_rename(temporary, folder / INPUT_FILE)

"""Name what is kept: a folder for each source that the gateway knows, and one for all others; names that cannot leave them."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from avizor_service.metric_labels import OTHER, BoundedSources

ITEMS = "items"

# What a name in the file system keeps of a source.
_ODD = re.compile(r"[^A-Za-z0-9-]+")
_MOST_OF_SOURCE = 40
_DIGEST = 8

_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}-.+-w(\d+)-\d+(\.mix)?\.[a-z0-9]+")


class KeptFile(NamedTuple):
    """Holds the file of a kept item. path: below the folder of all. group: the source's folder. size: bytes on the disk."""

    path: str
    group: str
    time_ns: int
    size: int
    slot: int


def group_of(source: str, sources: BoundedSources) -> str:
    """Return the name of the folder of a source as a client named it: its letters and digits, and a digest of it.

    Sources that are in no calibration and not named with --sources share one, as they do in the metrics: a client cannot make
    folders.
    """
    if sources.label(source) == OTHER:
        return OTHER
    plain = _ODD.sub("_", source)[:_MOST_OF_SOURCE]
    return f"{plain}-{hashlib.sha256(source.encode(errors='surrogatepass')).hexdigest()[:_DIGEST]}"


def name_of_item(time_ns: int, model: str, slot: int, number: int, *, is_mixed: bool, suffix: str) -> str:
    """Return the name of an item's file. It begins with the time, in UTC, and says which writer has written it."""
    time = datetime.fromtimestamp(time_ns // 1000 / 1e6, UTC)
    return f"{time:%Y%m%dT%H%M%S.%f}-{model}-w{slot}-{number}{'.mix' if is_mixed else ''}{suffix}"


def slot_of(name: str) -> int | None:
    """Return the writer of a file; None if it is none that is kept."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def kept_files(folder: Path) -> list[KeptFile]:
    """Return what is kept, the oldest first. Raises OSError."""
    found = []
    for group in sorted((folder / ITEMS).iterdir()):
        for path in group.iterdir() if group.is_dir() else ():
            slot = slot_of(path.name)
            if slot is None:
                continue
            try:
                status = path.stat(follow_symlinks=False)
            except FileNotFoundError:  # another writer has removed it
                continue
            size = max(status.st_size, status.st_blocks * 512)
            found.append(KeptFile(f"{ITEMS}/{group.name}/{path.name}", group.name, status.st_mtime_ns, size, slot))
    return sorted(found, key=lambda file: (file.time_ns, file.path))

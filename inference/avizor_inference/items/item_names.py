"""Name files that belong to one item of the dataset."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath

# Characters of the item's name that are kept. File systems take 255 bytes.
_KEPT = 80


def item_file_name(uri: str, suffix: str) -> str:
    """Return the name of a file for an item: what its name begins with, and the first 20 hex digits of the sha256 of its uri.

    Other items have other names, also in other folders. Five million items share one with a probability under 1e-10.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", PurePath(uri).stem)[:_KEPT].lstrip(".")
    return f"{stem}-{hashlib.sha256(uri.encode()).hexdigest()[:20]}{suffix}"

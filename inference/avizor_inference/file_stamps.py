"""Notice that a file has changed, without reading it."""

from __future__ import annotations

from pathlib import Path

# Equal as long as a file is as it was.
Stamp = tuple[int, ...]


def stamp(path: Path) -> Stamp:
    """Return what tells one state of a file, or of a folder, from another: times in ns, bytes, number. Never raises.

    A link counts as what it leads to. Of what cannot be looked at: why not.
    """
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or -1,)
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

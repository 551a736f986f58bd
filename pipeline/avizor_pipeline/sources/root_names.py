"""Give each file one path, however the command spells it, so that a file of an earlier round is known again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from avizor_inference.items.dataset import Entry
from avizor_inference.items.file_access import name_of, path_of
from avizor_inference.items.path_lists import fixed_part, is_pattern
from avizor_inference.items.standard_input import STANDARD_INPUT
from avizor_inference.object_store import is_url


def place_of(root: str) -> str:
    """Return where a root leads, which is the same for every spelling: an absolute path without links to folders, or a URL.

    Of a pattern it is the fixed part that is followed. Standard input is itself.
    """
    if root == STANDARD_INPUT:
        return root
    path = path_of(root)
    if is_url(path):
        return name_of(str(path))
    if not is_pattern(path):
        return name_of(str(_real(path)))
    base = fixed_part(path)
    return name_of(str(Path(os.path.realpath(base)) / path.relative_to(base)))


class RootNames:
    """Names the files of some roots: by their one path, and by the spelling of the roots that the tables have.

    given: the roots as they are spelt now. first: the same roots as the job's first command spelt them.
    """

    def __init__(self, given: Sequence[str], first: Sequence[str]) -> None:
        bases = [
            (_prefix(base), _prefix(_real(base)), _prefix(_base(path_of(spelt))))
            for root, spelt in zip(given, first, strict=True)
            for base in [_base(path_of(root))]
        ]
        self._files = {given: (real, first) for given, real, first in bases}  # a shell may name thousands
        self._bases = sorted(bases, key=lambda base: -len(base[0]))  # the current folder, "", would take others' files

    def name(self, entry: Entry) -> Entry:
        """Return an entry with its one path, and with the uri that it has in the tables.

        The path is where the root leads, and the path below the root as it is: a file that two links in a folder lead to is
        two. Of a file that a list names it is where its folder leads. Its uri is then as the list spells it.
        """
        text = entry.file
        if itself := self._files.get(f"{text}/"):
            real, first = itself
            return entry.renamed(str(Path(real)), name_of(first.rstrip("/")))
        for given, real, first in self._bases:
            if text.startswith(given) and (given or not (Path(text).is_absolute() or is_url(text))):
                below = text[len(given) :]
                return entry.renamed(real + below, name_of(first + below))
        return entry._replace(file=str(_real_folder(entry.path.parent) / entry.path.name))


def _base(path: Path) -> Path:
    return fixed_part(path) if is_pattern(path) else path


def _prefix(base: Path) -> str:
    """Return what the paths of a folder's files begin with."""
    text = str(base)
    return "" if text == "." else text.rstrip("/") + "/"


@lru_cache(maxsize=1024)
def _real_folder(folder: Path) -> Path:
    return _real(folder)


def _real(path: Path) -> Path:
    """Return a path without links in its folders, of which a URL has none. A file's own name stays, as below a folder.

    So a link that leads to nothing, or to another file by now, is the same file of the same job, which has changed.
    """
    if is_url(path):
        return path
    is_folder = not path.name
    with suppress(OSError):  # one that cannot be looked at is told of when it is read
        is_folder |= path.is_dir()
    return Path(os.path.realpath(path) if is_folder else Path(os.path.realpath(path.parent), path.name))

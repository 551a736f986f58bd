"""Find in Avizor's own metadata what to install for a module that every command needs. It imports what Python has, alone."""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from traceback import walk_tb


def requirement_of(module: str) -> str:
    """Return a package with its range, as `pip install` takes it; the name alone of one that is not always needed."""
    package = module.partition(".")[0].replace("_", "-")
    with suppress(PackageNotFoundError):
        for line in requires("avizor") or []:
            if ";" not in line and re.match(rf"{re.escape(package)}(?![\w.-])", line):
                return line
    return package


def module_of(error: ImportError) -> str:
    """Return the module that is missing, or in which the import failed."""
    return error.name or [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)][-1]

"""Standard input, output and error: there from the start, written out at the end."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


def open_standard_files() -> None:
    """Open the null device where this process was given no standard input, output or error.

    Else the next file or connection that is opened gets the number, and what a library prints goes into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(opened, True)


@contextlib.contextmanager
def written_out() -> Iterator[None]:
    """Write all of standard output before a command ends with success. Raises OSError."""
    try:
        yield
    except SystemExit as ended:
        if not ended.code and sys.stdout:
            sys.stdout.flush()
        raise


def forget_unwritten() -> None:
    """Forget what cannot be written any more: the disk is full, or the terminal is gone.

    Python would try once more at its end, print that it failed, and end with 120, not with the command's exit code.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)

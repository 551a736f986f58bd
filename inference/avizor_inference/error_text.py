"""Why something was refused, in few words: by the system, or by a library."""

from __future__ import annotations

import os


def reason(error: OSError) -> str:
    """The cause without number, path or capital: `no space left on device`."""
    # pyarrow puts a text of its own where the system's belongs; name servers have numbers of their own, below zero.
    text = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return text[:1].lower() + text[1:]


def one_line(error: BaseException) -> str:
    """The words of a library's error in one line of at most 300 characters; its kind where it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__

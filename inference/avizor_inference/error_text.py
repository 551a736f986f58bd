"""Return the texts of errors that were raised by the system or by a library, for a message of ours."""

from __future__ import annotations

import os

MOST_CHARACTERS = 300


def reason(error: OSError) -> str:
    """Return the cause without number, path or capital letter: `no space left on device`."""
    # pyarrow puts its own text where the system's belongs. Name servers use numbers below zero.
    text = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return text[:1].lower() + text[1:]


def one_line(error: BaseException) -> str:
    """Return the error's text as one short line; the name of its class if it has no text."""
    return shortened(str(error)) or type(error).__name__


def shortened(text: str) -> str:
    """Return the text as one line, cut off after 300 characters."""
    return " ".join(text.split())[:MOST_CHARACTERS]

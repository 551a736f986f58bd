"""Write parts of messages: what the system, a library or another program says in an error, and numbers and names of things."""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Sequence

from avizor_inference.errors import GpuFull

MOST_CHARACTERS = 300
_NAME_CHARACTERS = 60

# How Python writes an object that has no text of its own, such as an open file: `<_io.BufferedReader name=3>`.
_OBJECT = re.compile(r"<(?:_io\.\w+|[\w.]+ object at 0x[0-9a-f]+)[^<>]*>")

# What to do where the process, or the system, has as many files open as it may.
_LACKS = {errno.EMFILE: "raise `ulimit -n`", errno.ENFILE: "end other programs, or raise fs.file-max with sysctl"}

# How C++ libraries say that there is no memory: any of them, and the allocator of ONNX Runtime. The last: Python, of a stack.
_NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory", "can't start new thread")


def reason(error: OSError) -> str:
    """Return the cause without number, path or capital letter: `no space left on device`."""
    if _lacks_temporary(error):
        return shortened(str(error.strerror)).replace("No usable", "no usable").translate({ord(each): None for each in "[]'"})
    # pyarrow puts its own text where the system's belongs. Name servers use numbers below zero.
    text = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    limit = f": this process may have {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}" if error.errno == errno.EMFILE else ""
    return text[:1].lower() + text[1:] + limit


def remedy(error: OSError, otherwise: str) -> str:
    """Return what to do about an error, after its `reason`: `otherwise`, unless it is no fault of the file that was opened."""
    if _lacks_temporary(error):
        return "make room in one of them, or name a folder that can be written with TMPDIR"
    return _LACKS.get(error.errno or 0, otherwise)


def _lacks_temporary(error: OSError) -> bool:
    """Return whether Python found no folder for temporary files. It says so as if a file were missing."""
    return error.filename is None and "temporary directory" in str(error.strerror)


def lacks_open_files(error: OSError) -> bool:
    """Return whether the process, or the system, has as many files open as it may: whichever is opened next fails."""
    return error.errno in _LACKS


def lacks_memory(error: BaseException | None) -> bool:
    """Return whether an error comes from a lack of memory: decoders and engines wrap whatever they catch.

    Not from a lack of a GPU's memory, which no file and no process of ours needs to have caused.
    """
    while error is not None and not isinstance(error, GpuFull):
        if isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY):
            return True
        error = error.__cause__
    return False


def one_line(error: BaseException) -> str:
    """Return the error's text as one short line; the name of its class if it has no text."""
    return shortened(str(error)) or type(error).__name__


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number of things. plural: of the noun, if it is not one with an `s`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def named(names: Sequence[str], most: int = 3) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shortened(text: str) -> str:
    """Return the text as one line, cut off after 300 characters. An object of Python's in it is an open file: `the file`."""
    return " ".join(_OBJECT.sub("the file", text).split())[:MOST_CHARACTERS]


def printable(text: str) -> str:
    """Return a text with every character escaped that a terminal would not print as itself: newlines, colours, directions."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def short_name(text: str) -> str:
    """Return a name of a user's as `printable` does, cut off after 60 characters: a column of a table may hold any text."""
    shown = printable(text)
    return shown if len(shown) <= _NAME_CHARACTERS else f"{shown[: _NAME_CHARACTERS - 1]}…"


def printable_lines(text: str) -> str:
    """Return the same of a text that may have several lines."""
    return text if text.isprintable() else "\n".join(map(printable, text.splitlines()))

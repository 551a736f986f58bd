"""Say of a text that it is not in UTF-8, where in its file, and by which command the file becomes one that is."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from avizor_inference.object_store import is_url


def not_utf8(text: bytes, file: Path | None = None) -> str:
    """Return, for a message, that a text is not in UTF-8, and how to convert its file.

    text: some of the file. file: that holds it; None where it is not known, and for an object the command has another name.
    """
    is_utf16 = b"\0" in text  # of the letters that most texts have, one byte of the two is 0
    known = file is not None and not is_url(file)
    name = str(file) if known else f"TABLE{file.suffix if file else '.csv'}"
    made = str(Path(name).with_suffix("")) + "-utf8" + Path(name).suffix
    source = "UTF-16" if is_utf16 else "WINDOWS-1252"
    command = f"`iconv -f {source} -t UTF-8 {shlex.quote(name)} > {shlex.quote(made)}`"
    if is_utf16:
        return f"is in UTF-16, not in UTF-8; convert it with {command}"
    return f"is not in UTF-8; if a program of Windows such as Excel wrote it, convert it with {command}"


def line_not_utf8(lines: Iterable[bytes], file: Path) -> str:
    """Return the same of the first line of a file that is not in UTF-8; of the file if each line is."""
    for number, line in enumerate(lines, 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return f"line {number} (byte 0x{line[error.start]:02x}) {not_utf8(line, file)}"
    return f"it {not_utf8(b'', file)}"

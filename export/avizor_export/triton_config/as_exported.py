"""The comment of config.pbtxt that holds what was written into it before a person edited anything: the base of the next merge.

It lies in the file itself, so that both are replaced in one step, and what later releases write does not look like an edit.
Triton reads over it. Whoever deletes the line has the base made anew from the newest version that can be read.
"""

from __future__ import annotations

import base64
import re
import zlib

_MARK = "# As exported, to tell edits by: "
_LINE = re.compile(rf"^\n?{re.escape(_MARK)}(\S+)[ \t]*$\n?", re.MULTILINE)
_LONGEST = 2**22  # bytes: far over any configuration, and far under what would hurt


def with_base(text: str, base: str) -> str:
    """The text of a config.pbtxt, with the line that holds its base."""
    packed = base64.b64encode(zlib.compress(base.encode(), 9)).decode()
    return f"{text}\n{_MARK}{packed}\n"


def split_base(text: str) -> tuple[str, str | None]:
    """The text without that line, wherever it stands by now, and the base; None where it is not there or damaged."""
    found = _LINE.search(text)
    if found is None:
        return text, None
    return _LINE.sub("", text), _unpacked(found[1])


def _unpacked(packed: str) -> str | None:
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(base64.b64decode(packed, validate=True), _LONGEST).decode()
    except (ValueError, zlib.error):
        return None
    return text if reader.eof else None

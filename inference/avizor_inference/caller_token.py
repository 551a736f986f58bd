"""Find the token of a caller in a file, for every command that calls a server with one.

`avizor_client` imports no other package of Avizor, and has the same rules in its own `tokens.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

from avizor_inference.errors import TokenFileError

# A line of a file of `avizor serve --tokens`; a comment does not begin so.
_LINE = re.compile(r'^\s*"Bearer ([\x21\x23-\x7e]+)"', re.MULTILINE)
_ALONE = re.compile(r"\s*([\x21\x23-\x7e]+)\s*")


def token_in(content: bytes, path: Path) -> str:
    """Return the token in a file: alone, or the first one in the form of `avizor serve --tokens`.

    content: of the file. path: to name it. Raises TokenFileError, which shows nothing of the content.
    """
    text = str(content, "ascii", "replace")
    found = _LINE.search(text) or _ALONE.fullmatch(text)
    if found is None:
        raise TokenFileError(f"{path}: holds no token; write the token alone, or a line as for `avizor serve --tokens`")
    return found[1]

"""Hold the token of a caller, and read its file again when that changes."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from avizor_client.errors import InputError
from avizor_client.files import read_file, unreadable

# A line of a file of `avizor serve --tokens`; a comment does not begin so. The other commands have the same rules in
# avizor_inference (caller_token.py).
_LINE = re.compile(r'^\s*"Bearer ([\x21\x23-\x7e]+)"', re.MULTILINE)
_ALONE = re.compile(r"\s*([\x21\x23-\x7e]+)\s*")


class Token:
    """The token of a caller: a text, or a file that holds it alone or in the form of `avizor serve --tokens`."""

    def __init__(self, text: str | None = None, file: Path | str | None = None) -> None:
        """Raise InputError for both, for a text that is no token, and for a file that cannot be read or holds none."""
        if text is not None and file is not None:
            raise InputError("a token and a file of it are given; leave one of them out")
        self._file = None if file is None else Path(file)
        self._state: tuple[int, ...] = ()
        self._value = ""
        if text is not None:
            if not (match := _ALONE.fullmatch(text)):
                raise InputError("the token has to be printable ASCII without spaces or quotes")
            self._value = match[1]
        self.metadata()

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the header that a call needs; empty without a token. Raises InputError."""
        if self._file is not None:
            self._renew(self._file)
        return (("authorization", f"Bearer {self._value}"),) if self._value else ()

    def _renew(self, file: Path) -> None:
        """Read the file if it has changed. The last token is kept while there is no other: a file may be half written."""
        try:
            now = file.stat()
            state = (now.st_mtime_ns, now.st_size, now.st_ino)
            if state == self._state or (self._value and stat.S_ISFIFO(now.st_mode)):  # a pipe has it only once
                return
            text = str(read_file(file), "ascii", "replace")
        except (OSError, InputError) as error:
            if self._value:
                return
            if isinstance(error, InputError):
                raise
            raise unreadable(file, error) from error
        match = _LINE.search(text) or _ALONE.fullmatch(text)
        if match:
            self._value, self._state = match[1], state
        elif not self._value:
            raise InputError(f"{file}: holds no token; write the token alone, or a line as for `avizor serve --tokens`")

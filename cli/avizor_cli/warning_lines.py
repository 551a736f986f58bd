"""Format the log messages of the packages like the lines that a command prints: `Warning: ....`"""

from __future__ import annotations

import logging

from avizor_inference.error_text import printable_lines


class WarningLines(logging.Formatter):
    """Formats `Warning: MESSAGE.`, with the name of the logger if it is not one of Avizor's."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return one line; logging adds the traceback after it, if there is one."""
        source = "" if record.name.startswith("avizor_") else f"{record.name}: "
        return f"{record.levelname.capitalize()}: {source}{printable_lines(record.message).removesuffix('.')}."

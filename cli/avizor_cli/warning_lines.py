"""Log messages of the packages, in the form of a command's own lines: `Warning: ....`"""

from __future__ import annotations

import logging


class WarningLines(logging.Formatter):
    """Formats `Warning: MESSAGE.`, with the name of the logger if it is not one of Avizor's."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return one line, which comes before the traceback if there is one."""
        source = "" if record.name.startswith("avizor_") else f"{record.name}: "
        return f"{record.levelname.capitalize()}: {source}{record.message.removesuffix('.')}."

"""What the packages log, as the lines that a command writes itself: `Warning: ....`"""

from __future__ import annotations

import logging


class WarningLines(logging.Formatter):
    """`Warning: MESSAGE.`; the logger is named where it is not one of Avizor's."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """One line, before the traceback if there is one."""
        source = "" if record.name.startswith("avizor_") else f"{record.name}: "
        return f"{record.levelname.capitalize()}: {source}{record.message.removesuffix('.')}."

"""Show the stages of an export on standard error: the one that runs, on a terminal, and how long each took."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from avizor_export import stages


class StageLines(logging.Handler):
    """Writes a line for each stage that ends. On a terminal the stage that runs is named until then."""

    def __init__(self, is_terminal: bool, least_s: float = 0.0) -> None:
        super().__init__()
        self.is_terminal, self.least_s = is_terminal, least_s
        self.is_running = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record of `stages.log`."""
        self.is_running = record.levelno < logging.INFO
        if not self.is_running and _seconds(record) < self.least_s:
            if self.is_terminal:
                click.echo("\x1b[K", err=True, nl=False)
        elif not self.is_running:
            click.echo(record.getMessage(), err=True)
        elif self.is_terminal:
            # The cursor returns to the start of the line, so that the next line, a warning or this stage's own, replaces it.
            click.echo(record.getMessage() + "\r", err=True, nl=False)


def _seconds(record: logging.LogRecord) -> float:
    assert isinstance(record.args, tuple)
    return float(str(record.args[1]))


@contextmanager
def show_stages(least_s: float = 0.0) -> Iterator[None]:
    """Show the stages of the exports in the block. If it raises, a terminal keeps the name of the stage that was running.

    least_s: seconds of the stages that get a line; shorter ones are named while they run alone.
    """
    lines = StageLines(sys.stderr.isatty(), least_s)
    level, propagate = stages.log.level, stages.log.propagate
    stages.log.addHandler(lines)
    stages.log.setLevel(logging.DEBUG)
    stages.log.propagate = False  # else the handler of the root logger prints warnings of them
    try:
        yield
    except BaseException:
        if lines.is_running and lines.is_terminal:
            click.echo(err=True)
        raise
    finally:
        stages.log.removeHandler(lines)
        stages.log.setLevel(level)
        stages.log.propagate = propagate

"""Show how far a training is, and how long it takes with all its steps: on a terminal in one line, in a log now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import click

_SECONDS_BETWEEN = 15.0  # of lines in a log
# The first steps of a training take up to a hundred times as long as others: what they took says nothing about the rest.
_FIRST_STEPS = 10


def publishing_s(trainings: int = 1) -> float:
    """Return how many seconds the proof and the publication may take, which follow so many trainings: of folds, twice."""
    return 30.0 * min(trainings, 2)


@dataclass
class TrainingProgress:
    """Writes on standard error how far a training of several folds is, and how long the command takes until its end.

    The time is that of all steps at the speed so far: fewer may do, and other work on the machine makes them slower.

    rounds: how many detectors are trained, one for each fold. is_terminal: whether a line may be written over.
    """

    what: str
    rounds: int = 1
    is_terminal: bool = field(default_factory=lambda: sys.stderr.isatty())
    round: int = 0
    clock: Callable[[], float] = time.monotonic
    _steps_before: int = 0  # of the rounds that are done, of which each may have ended early
    _step: int = 0
    _measured_from: int = 0  # step, of all rounds together, at which `_started` was
    _started: float = field(init=False)
    _shown: float = -_SECONDS_BETWEEN

    def __post_init__(self) -> None:
        self._started = self.clock()

    def __call__(self, step: int, most: int) -> None:
        """Take note that so many steps of this round are done. See detection.early_stopping.Watch."""
        self._step, now = step, self.clock()
        done = self._steps_before + step
        if done < _FIRST_STEPS:
            self._started, self._measured_from = now, done
            return
        if not self.is_terminal and now - self._shown < _SECONDS_BETWEEN:
            return
        self._shown = now
        steps_left = (self.rounds - self.round) * most - step
        left = (now - self._started) * steps_left / (done - self._measured_from) + publishing_s(self.rounds)
        which = f", fold {self.round + 1} of {self.rounds}" if self.rounds > 1 else ""
        took = f"the whole command takes about {duration(left)} more, with all steps and at this speed"
        text = f"{self.what}{which}: step {step} of at most {most}; {took}"
        click.echo(f"\r\x1b[K{text}" if self.is_terminal else text, err=True, nl=not self.is_terminal)

    def next_round(self) -> None:
        """Take note that a detector is trained."""
        self.round, self._steps_before, self._step = self.round + 1, self._steps_before + self._step, 0

    def finish(self) -> None:
        """Clear the line of a terminal."""
        if self.is_terminal:
            click.echo("\r\x1b[K", err=True, nl=False)


@contextmanager
def training_progress(what: str, rounds: int = 1) -> Iterator[TrainingProgress]:
    """Show the progress of a training in the block, and at its end how long it took."""
    started, progress = time.monotonic(), TrainingProgress(what, rounds)
    try:
        yield progress
    finally:
        progress.finish()
    click.echo(f"{what} ... {duration(time.monotonic() - started)}", err=True)


def duration(seconds: float) -> str:
    """Return a time in words."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"

"""Show progress while a job runs: a bar on a terminal, lines at a bounded pace in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from avizor_inference.error_text import counted as counted  # of the package's face, too
from avizor_pipeline.job_outcome import Outcome

# Without a terminal: seconds between lines, and the share of the job's time so far that is between them. So a job of
# 20 minutes writes about a hundred lines, and one of a week seven hundred.
LINE_EVERY_S = 10.0
LINE_EVERY_SHARE = 0.01


@contextmanager
def show_progress(
    files: int, notes: Callable[[Outcome], Iterable[str]] = lambda _: (), *, judges: bool = True
) -> Iterator[Callable[[Outcome], None]]:
    """Show progress over this number of files on standard error; the yielded function takes what the job came to so far.

    notes: what to say besides; its lines come above the bar. judges: see `found`.
    """
    console, started = Console(stderr=True, highlight=False), time.monotonic()

    def say(outcome: Outcome) -> None:
        for line in notes(outcome):
            console.print(f"avizor batch: {line}", soft_wrap=True, markup=False)

    if not console.is_terminal:
        yield _lines(console, files, started, say, judges)
        return
    columns = (TextColumn("avizor batch"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[status]}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("batch", total=files, status="")

        def show(outcome: Outcome) -> None:
            say(outcome)
            status = _status(outcome, files, time.monotonic() - started, judges)
            bar.update(task, completed=outcome.files_so_far, status=status)

        yield show


def _lines(
    console: Console, files: int, started: float, say: Callable[[Outcome], None], judges: bool
) -> Callable[[Outcome], None]:
    last = started

    def show(outcome: Outcome) -> None:
        nonlocal last
        say(outcome)
        now = time.monotonic()
        if now - last < max(LINE_EVERY_S, LINE_EVERY_SHARE * (now - started)) and outcome.files < files:
            return
        last = now
        status = _status(outcome, files, now - started, judges)
        console.print(f"avizor batch: {_number(outcome.files_so_far)}/{files} items, {status}", soft_wrap=True)

    return show


def _status(outcome: Outcome, files: int, seconds: float, judges: bool) -> str:
    """Return the rate of this run, the time left, and what was found so far."""
    items = outcome.files_so_far - outcome.earlier_files - outcome.earlier_in_part
    if not items and outcome.files == files:
        return f"nothing was left to do, {found(outcome, judges)}"
    left = _seconds_left(outcome, files, items, seconds)
    time_left = "time left not known yet" if left is None else f"{timedelta(seconds=round(left))} left"
    return f"{speed(items / max(seconds, 1e-9))}, {time_left}, {found(outcome, judges)}"


def found(outcome: Outcome, judges: bool) -> str:
    """Return what was found so far. judges: whether a model has a calibration; without one nothing is said of anomalies."""
    anomalies = f"{counted(outcome.anomalies, 'anomaly', 'anomalies')}, " if judges else ""
    return f"{anomalies}{counted(outcome.dead_letters, 'dead letter')}"


def _seconds_left(outcome: Outcome, files: int, items: float, seconds: float) -> float | None:
    """Return the seconds left; None if nothing is done yet. By bytes, since files differ in length, or else by items."""
    done, left = outcome.work_so_far - outcome.earlier_work, outcome.all_work - outcome.work_so_far
    if not outcome.all_work:
        done, left = items, files - outcome.files_so_far
    return left * seconds / done if done > 0 else None


def speed(rate: float) -> str:
    """Return a rate in items a second as text: a job of few long files does less than one."""
    number = f"{rate:{'.0f' if rate >= 1 else '.2g'}}"
    return f"{number} item{'s' * (number != '1')}/s"


def size(count: int) -> str:
    """Return a number of bytes as text."""
    if count < 1000:
        return counted(count, "byte")
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def counted_of(count: int, plural: str) -> str:
    """Return a number of things whose plural ends with an s."""
    return counted(count, plural.removesuffix("s"))


def _number(files: float) -> str:
    """Return a number of files, of which a long one may be done in part."""
    return f"{files:.2f}" if files % 1 else f"{files:.0f}"

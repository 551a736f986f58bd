"""Progress while a job runs: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

# Seconds between lines where there is no terminal.
LINE_EVERY_S = 10.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} clips/s" if speed else "- clips/s")


@contextmanager
def progress(files: int) -> Iterator[Callable[[int], None]]:
    """Show progress over `files` clips; the function that is given advances it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(files)
        return
    columns = (TextColumn("avizor batch"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("batch", total=files)
        yield lambda count: bar.advance(task, count)


def _lines(files: int) -> Callable[[int], None]:
    console = Console(stderr=True, highlight=False)
    started = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last < LINE_EVERY_S and done < files:
            return
        last = now
        rate = done / max(now - started, 1e-9)
        console.print(f"avizor batch: {done}/{files} clips, {rate:.0f} clips/s, {(files - done) / rate:.0f} s left")

    return advance

"""Show progress while a job runs: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

# Seconds between lines if there is no terminal.
LINE_EVERY_S = 10.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} items/s" if speed else "- items/s")


@contextmanager
def show_progress(items: int) -> Iterator[Callable[[int], None]]:
    """Show progress over this number of items on standard error; the yielded function takes how many more are finished."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(items)
        return
    columns = (TextColumn("avizor batch"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("batch", total=items)
        yield lambda count: bar.advance(task, count)


def _lines(items: int) -> Callable[[int], None]:
    console = Console(stderr=True, highlight=False)
    started = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last < LINE_EVERY_S and done < items:
            return
        last = now
        rate = done / max(now - started, 1e-9)
        console.print(f"avizor batch: {done}/{items} items, {rate:.0f} items/s, {(items - done) / rate:.0f} s left")

    return advance

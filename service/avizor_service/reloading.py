"""Read files again while the gateway runs: on SIGHUP, and those that change often also every few seconds.

What is read is named (`models`, `tokens`), so that log and metrics say what failed. A reload that fails changes nothing: what
was in use stays in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from avizor_inference.errors import AvizorError
from avizor_service.metrics import Metrics

_log = logging.getLogger(__name__)

# Reads something again. asked: by a person (SIGHUP), and not because of the time. It runs in a thread, and never twice at once.
Reload = Callable[[bool], None]


@dataclass
class _Named:
    name: str
    reload: Reload
    every_s: float
    at_start: bool
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    told: str = ""  # of what is wrong: what is found again at each look is told once


class Reloading:
    """Holds what can be read again: `add` each part, then run `work` as a task, and call `ask` on SIGHUP."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._parts: list[_Named] = []

    def add(self, name: str, reload: Reload, every_s: float = 0.0, *, at_start: bool = False) -> None:
        """Add a part, before `work`.

        name: a label of the metrics. every_s: seconds between two looks besides; 0 for none. at_start: it is read when `work`
        begins, too.
        """
        self._parts.append(_Named(name, reload, every_s, at_start))
        self._metrics.reload_ok.labels(name).set(1)
        self._metrics.reload_failures.labels(name)

    def ask(self) -> None:
        """Have everything read again soon. For the event loop; returns at once."""
        _log.info("reading again: %s", ", ".join(part.name for part in self._parts) or "nothing")
        for part in self._parts:
            part.asked.set()

    async def work(self) -> None:
        """Read what is asked for, and what is due. Returns when cancelled."""
        await asyncio.gather(*map(self._follow, self._parts))

    async def _follow(self, part: _Named) -> None:
        if part.at_start:
            await self._run(part, asked=False)
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(part.asked.wait(), part.every_s or None)
            asked = part.asked.is_set()
            part.asked.clear()  # before the files are read: a signal that comes now is about files that may change later
            await self._run(part, asked)

    async def _run(self, part: _Named, asked: bool) -> None:
        """Run one reload. It may fail in any way: the gateway goes on with what it has."""
        try:
            await asyncio.to_thread(part.reload, asked)
        except Exception as error:
            self._metrics.reload_ok.labels(part.name).set(0)
            known = isinstance(error, AvizorError)
            told, part.told = part.told, str(error)
            if told == part.told and not asked:
                return
            self._metrics.reload_failures.labels(part.name).inc()
            _log.error("%s: not read again, what was in use stays: %s", part.name, error, exc_info=None if known else error)
        else:
            self._metrics.reload_ok.labels(part.name).set(1)
            part.told = ""
            if asked:
                _log.info("%s: read again", part.name)

"""Run a gateway of several workers from start to clean shutdown: the side of the process that starts them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from avizor_service.logs.open_log import open_log
from avizor_service.metrics import WorkerMetrics
from avizor_service.metrics_server import serve_metrics
from avizor_service.open_files import allow_open_files
from avizor_service.settings import Settings
from avizor_service.whole import Addresses
from avizor_service.workers.gauges import Family
from avizor_service.workers.merged_metrics import MergedMetrics
from avizor_service.workers.port import held_port
from avizor_service.workers.shared_counts import SharedCounts
from avizor_service.workers.shares import Place
from avizor_service.workers.slot import Slot

_log = logging.getLogger(__name__)

# Where files are memory, if that is there.
_MEMORY = Path("/dev/shm")  # noqa: S108 - a private folder is made in it

# Seconds in which a worker answers, or is left out: a question of what it does now, and that it is not ready from now on.
_ANSWER_S = 1.0

# Seconds that a worker may take to stop beyond those that calls are given.
_BEYOND_GRACE_S = 10.0


async def run_workers(settings: Settings, started: Callable[[Addresses], None]) -> None:
    """Serve with `settings.workers` processes until SIGTERM or SIGINT; then let all answer what has arrived.

    started: is called once all workers listen. Raises AvizorError if they cannot, or end
    again and again.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    with contextlib.ExitStack() as stack:
        stack.enter_context(open_log(settings.log_format, settings.log_level, settings.log_calls, _lines_dropped))
        allow_open_files(settings.max_connections)  # the workers inherit it
        port = stack.enter_context(held_port(settings.host, settings.port, "--port"))
        folder = Path(stack.enter_context(_folder()))
        http_port = settings.http_port
        if settings.serves_http:
            http_port = stack.enter_context(held_port(settings.host, http_port, "--http-port"))
        workers = _Workers(replace(settings, port=port, http_port=http_port), folder)
        metrics_address = serve_metrics(
            settings.metrics_port, settings.metrics_host or settings.host, workers.metrics.registry, stack
        )
        loop.add_signal_handler(signal.SIGHUP, workers.signal, signal.SIGHUP)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # held back by `avizor`
        fills = [asyncio.create_task(slot.fill()) for slot in workers.open(metrics_address)]
        filled = asyncio.gather(*fills)
        filled.add_done_callback(lambda _: stopped.set())  # one has failed
        try:
            await _either(workers.all_ready, stopped)
            if not stopped.is_set():
                started(workers.addresses())
                await stopped.wait()
        finally:
            has_failed = filled.done()
            _log.info("stopping")
            await workers.stop()
            for fill in fills:
                fill.cancel()
            await asyncio.gather(*fills, return_exceptions=True)
            await asyncio.wait([filled])
            if not filled.cancelled():
                filled.exception()  # else asyncio would write it to standard error, after the log is closed
        if has_failed:
            filled.result()


class _Workers:
    """Holds the workers, and what the whole knows of them."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._counts = SharedCounts(folder, settings.workers)
        self._loop = asyncio.get_running_loop()
        self._slots: list[Slot] = []
        self._gauges: dict[int, list[Family]] = {}
        self.all_ready = asyncio.Event()
        self._is_stopping = False
        self.metrics = WorkerMetrics()
        self.metrics.registry.register(MergedMetrics(folder, self._ask_gauges))

    def open(self, metrics_address: str) -> list[Slot]:
        """Return a slot for each worker, all empty."""
        for number in range(1, self._settings.workers + 1):
            place = Place(number, self._settings.workers, self._folder, self._settings, metrics_address)
            place.write()
            self._slots.append(Slot(place, self._changed, partial(self._ended, number), partial(self._others_serve, number)))
        return self._slots

    def addresses(self) -> Addresses:
        """Return where all of them listen."""
        addresses = self._slots[0].addresses
        assert addresses is not None, "all are ready"
        return addresses

    def signal(self, number: int) -> None:
        """Send a signal to all workers."""
        for slot in self._slots:
            slot.signal(number)

    async def stop(self) -> None:
        """Let all workers say that they are not ready; then let them stop."""
        self._is_stopping = True
        await asyncio.gather(*(slot.ask(_ANSWER_S, do="not_ready") for slot in self._slots))
        limit_s = self._settings.stop_delay_s + self._settings.grace_s + _BEYOND_GRACE_S
        await asyncio.gather(*(slot.stop(limit_s) for slot in self._slots))

    def _changed(self) -> None:
        """Tell all whether the whole serves: it does while one worker does. If all stop, none answers before all are closed."""
        ready = [slot for slot in self._slots if slot.is_ready]
        self.metrics.workers.set(len(ready))
        if len(ready) == len(self._slots):
            self.all_ready.set()
        serving = any(slot.is_up for slot in ready)
        for slot in ready:
            slot.tell(serving=serving)
            if slot.is_closed and (not self._is_stopping or all(other.is_closed for other in ready)):
                slot.tell(do="open")

    def _others_serve(self, number: int) -> bool:
        return any(slot.is_ready for slot in self._slots if slot.number != number)

    def _ended(self, number: int, was_told: bool) -> None:
        self._counts.forget(number)
        self._gauges.pop(number, None)
        self.metrics.ended.labels("stopped" if was_told else "crash").inc()

    def _ask_gauges(self) -> Mapping[int, Iterable[Family]]:
        """Return the gauges of each worker that is ready; of one that does not answer, the last. For a thread."""
        return asyncio.run_coroutine_threadsafe(self._asked_gauges(), self._loop).result()

    async def _asked_gauges(self) -> Mapping[int, Iterable[Family]]:
        answers = await asyncio.gather(*(slot.ask(_ANSWER_S, do="gauges") for slot in self._slots))
        for slot, gauges in zip(self._slots, answers, strict=True):
            if gauges is not None:
                self._gauges[slot.number] = gauges
        return dict(self._gauges)


def _lines_dropped(_count: int) -> None:
    """Say it nowhere else: the log itself does, and the workers count theirs."""


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that only this user may read, for files that processes have in memory together."""
    return tempfile.TemporaryDirectory(prefix="avizor-workers-", dir=_MEMORY if _MEMORY.is_dir() else None)

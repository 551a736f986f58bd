"""Keep one place among the workers filled: start its process, talk to it, and start another one when it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from avizor_inference.error_text import reason
from avizor_inference.errors import WorkersFailed
from avizor_inference.stop_signals import signals_blocked
from avizor_service.whole import Addresses
from avizor_service.workers.messages import Message, Peer
from avizor_service.workers.shares import Place

_log = logging.getLogger(__name__)

# Seconds that a worker has to serve to be no failure, and how many failures in a row end the whole if no other worker serves.
_SERVED_S = 5.0
_MOST_FAILURES = 5

# Seconds until a worker is started again that has failed, and the longest: they double from failure to failure.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0

# Seconds between two looks whether a process has ended, and the longest that this may take once it has closed its socket.
_LOOK_S, _EXIT_S = 0.01, 5.0

# Seconds between two questions whether a worker still answers, and those in which it has to: once, and once more, since all
# processes may have stood still meanwhile, and this one may be the first to go on.
_ASK_S, _SILENT_S, _ONCE_MORE_S = 5.0, 30.0, 10.0


class Slot:
    """Holds a worker, and then those that take its place.

    changed(): is called when it is ready, or closed to new calls, or its engine is up or away, or its process has ended.
    ended(bool): is called with whether it was told to end, before another process takes its place. others_serve(): returns
    whether other workers are ready.
    """

    def __init__(
        self,
        place: Place,
        changed: Callable[[], None],
        ended: Callable[[bool], None],
        others_serve: Callable[[], bool] = lambda: False,
    ) -> None:
        self.number, self._place, self._changed, self._ended = place.number, place, changed, ended
        self._others_serve = others_serve
        self._process: subprocess.Popen[bytes] | None = None
        self._peer: Peer | None = None
        self._failure = ""  # what the process said why it cannot serve
        self._ready_since = 0.0
        self.is_ready = self.is_up = self.is_closed = self._is_stopping = False
        self.addresses: Addresses | None = None

    async def fill(self) -> None:
        """Keep a worker here until `stop`.

        Raises WorkersFailed if the first one cannot serve, or they end again and again while no other worker serves.
        """
        failures = 0
        while not self._is_stopping:
            code = await self._run()
            if self._is_stopping:
                return
            if self.addresses is None:
                raise WorkersFailed(self._failure or f"a worker could not start: {_how(code)}; its last lines say why")
            failures = 0 if self._ready_since and time.monotonic() - self._ready_since >= _SERVED_S else failures + bool(code)
            if failures >= _MOST_FAILURES and not self._others_serve():
                raise WorkersFailed(
                    f"worker {self.number} ended {failures} times, each within {_SERVED_S:g} s: "
                    f"{self._failure or _how(code)}; the lines before this one say why"
                )
            pause_s = _pause_s(failures)
            _log.log(
                logging.WARNING if code else logging.INFO,
                "worker %d has ended (%s); another one takes its place%s",
                self.number,
                self._failure or _how(code),
                f" in {pause_s:g} s, after {failures} that did not serve for {_SERVED_S:g} s" if failures else "",
            )
            await asyncio.sleep(pause_s)

    def tell(self, **message: Any) -> None:
        """Tell the worker something, if it is ready."""
        if self._peer and self.is_ready:
            self._peer.tell(**message)

    async def ask(self, timeout_s: float, **message: Any) -> Any:
        """Return what a worker answers; None if it does not, or is not ready."""
        if not (self._peer and self.is_ready):
            return None
        try:
            return await self._peer.ask(timeout_s, **message)
        except (TimeoutError, ConnectionError):
            return None

    def signal(self, number: int) -> None:
        """Send a signal to the worker. It waits there until the worker is ready (signals_blocked)."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    async def stop(self, limit_s: float) -> None:
        """Let the worker stop as SIGTERM does. After limit_s seconds, and while it starts, it is killed."""
        self._is_stopping = True
        process = self._process
        if process is None or process.poll() is not None:
            return
        if not self.is_ready:
            process.kill()
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(limit_s):
                await _ended(process)
        except TimeoutError:
            _log.warning("worker %d did not stop within %g s, and is killed", self.number, limit_s)
            process.kill()
            await _ended(process)

    async def _run(self) -> int:
        """Run one process until it has ended, and return its exit code, below 0 for a signal."""
        self._failure, self._ready_since = "", 0.0
        try:
            process, ours = self._start()
        except OSError as error:  # there is no memory for it, or no room for an open file: that may pass
            self._failure = f"its process cannot be started: {reason(error)}"
            return 1
        self._process, self._peer = process, (peer := await Peer.open(ours))
        watch = asyncio.create_task(self._end_if_silent(process))
        try:
            await peer.listen(self._hear)
            with contextlib.suppress(TimeoutError):  # one that hangs at its end is killed
                async with asyncio.timeout(_EXIT_S):
                    await _ended(process)
        finally:
            watch.cancel()
            process.kill()
            process.wait()
            was_told = self._is_stopping or process.returncode == 0
            self.is_ready = self.is_up = self.is_closed = False
            await peer.close()
            self._ended(was_told)
            self._changed()
        code: int = process.returncode
        return code

    async def _end_if_silent(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a worker that is ready and does not answer: callers on its connections would wait for ever."""
        while not self._is_stopping:
            await asyncio.sleep(_ASK_S)
            if not self.is_ready or await self.ask(_SILENT_S, do="alive") or await self.ask(_ONCE_MORE_S, do="alive"):
                continue
            if not self._is_stopping:
                self._failure = f"it did not answer for {_SILENT_S + _ONCE_MORE_S:g} s"
                process.kill()
            return

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """Start a process, and return it with this side's end of the pair of sockets. Raises OSError."""
        folder = os.fspath(self._place.folder)
        ours, theirs = socket.socketpair()
        with theirs, signals_blocked():
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "avizor_service.workers.worker", folder, str(self.number)],
                    stdin=theirs.fileno(),
                    env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": folder},
                    process_group=0,  # what a terminal sends comes to the first process alone
                )
            except OSError:
                ours.close()
                raise
        return process, ours

    async def _hear(self, message: Message) -> None:
        if "ready" in message:
            self.addresses, self.is_ready, self._ready_since = Addresses(**message["ready"]), True, time.monotonic()
        elif "failed" in message:
            self._failure = message["failed"]
        elif "up" in message:
            self.is_up = message["up"]
        elif "closed" in message:
            self.is_closed = True
        self._changed()


def _pause_s(failures: int) -> float:
    """Return the seconds until a worker is started again, after so many failures in a row."""
    doubled = min(failures - 1, 30)  # there is no float for 2 ** 1024
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**doubled) if failures else 0.0


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has ended."""
    while process.poll() is None:
        await asyncio.sleep(_LOOK_S)


def _how(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    return known.get(-code, f"signal {-code}")

"""Start, ask and end the process that draws, from a thread."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pickle
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

from avizor_inference.errors import InvalidInput, SettingsError
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.stop_signals import signals_blocked
from avizor_service.drawing.messages import ERROR, HEAD, SIZE

# Seconds between two looks at whether a picture is still wanted.
_LOOK_S = 0.05
_AT_ONCE = 1 << 16  # bytes
_ENDED = "the process that draws has ended"


def require_matplotlib() -> None:
    """Raise SettingsError if matplotlib is not installed. It is not loaded here."""
    if find_spec("matplotlib") is None:
        raise SettingsError(
            "pictures need matplotlib, which is not installed where the gateway runs; pip install 'avizor[pictures]' there; "
            "numbers alone need none"
        )


class Drawer:
    """Draws pictures of maps, one at a time, in a process that is started by the first one. Safe to call from several threads.

    memory_mib, timeout_s: that one picture may take. A process that exceeds them is ended, and another one started.
    """

    def __init__(self, memory_mib: int, timeout_s: float) -> None:
        self._memory_mib, self._timeout_s = memory_mib, timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def draw(self, heat_map: HeatMap, spec: InputSpec, is_left: Callable[[], bool]) -> bytes:
        """Return the picture of a map as PNG.

        is_left: returns whether nobody wants it any more; then the process is ended, and CancelledError of concurrent.futures
        raised. Raises InvalidInput for a picture that takes too long, or too much memory.
        """
        while not self._lock.acquire(timeout=_LOOK_S):
            _check_left(is_left)
        try:
            process = self._started()
            try:
                kind, answer = self._asked(process, pickle.dumps((heat_map, spec)), is_left)
            except BaseException:
                self._end()
                raise
        finally:
            self._lock.release()
        if kind == ERROR:
            raise _not_drawn(answer.decode())
        return answer

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            command = [sys.executable, "-P", "-m", "avizor_service.drawing.worker", str(os.getpid()), str(self._memory_mib)]
            with signals_blocked():
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
            assert self._process.stdin is not None, "it is a pipe"
            os.set_blocking(self._process.stdin.fileno(), False)
        return self._process

    def _asked(self, process: subprocess.Popen[bytes], request: bytes, is_left: Callable[[], bool]) -> tuple[bytes, bytes]:
        assert process.stdin is not None, "it is a pipe"
        assert process.stdout is not None, "it is a pipe"
        end = time.monotonic() + self._timeout_s
        _write(process.stdin.fileno(), SIZE.pack(len(request)) + request, end, is_left)
        kind, size = HEAD.unpack(_read(process.stdout.fileno(), HEAD.size, end, is_left))
        return kind, _read(process.stdout.fileno(), size, end, is_left)

    def _end(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):  # what was not written
                        pipe.close()
            self._process = None


@contextlib.contextmanager
def open_drawer(memory_mib: int, timeout_s: float) -> Iterator[Drawer]:
    """Yield a drawer; end its process at the end."""
    drawer = Drawer(memory_mib, timeout_s)
    try:
        yield drawer
    finally:
        drawer.close()


def _write(pipe: int, request: bytes, end: float, is_left: Callable[[], bool]) -> None:
    """Send a request through a pipe that does not block. end: time.monotonic() by which it has to be taken."""
    rest = memoryview(request)
    while rest:
        _wait(pipe, select.POLLOUT, end, is_left)
        try:
            rest = rest[os.write(pipe, rest) :]
        except BlockingIOError:  # there was no room after all
            continue
        except OSError as error:
            raise _not_drawn(_ENDED) from error


def _read(pipe: int, size: int, end: float, is_left: Callable[[], bool]) -> bytes:
    """Return so many bytes of an answer. end: time.monotonic() by which they have to be there."""
    parts = bytearray()
    while len(parts) < size:
        _wait(pipe, select.POLLIN, end, is_left)
        part = os.read(pipe, min(_AT_ONCE, size - len(parts)))
        if not part:
            raise _not_drawn(_ENDED)
        parts += part
    return bytes(parts)


def _wait(pipe: int, event: int, end: float, is_left: Callable[[], bool]) -> None:
    """Wait until a pipe is ready. Raises InvalidInput when it is too late, and CancelledError of concurrent.futures."""
    look = select.poll()  # select.select knows only the first 1024 files that are open
    look.register(pipe, event)
    while True:
        _check_left(is_left)
        if time.monotonic() > end:
            raise _not_drawn("it takes too long")
        if look.poll(_LOOK_S * 1000):
            return


def _check_left(is_left: Callable[[], bool]) -> None:
    if is_left():
        raise concurrent.futures.CancelledError


def _not_drawn(why: str) -> InvalidInput:
    return InvalidInput(f"the picture is not drawn: {why}; numbers alone take less", field="format")

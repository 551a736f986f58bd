"""Open the log of a gateway: lines of calls and of modules go one way, without what gRPC says needlessly."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Literal

from grpc._cython.cygrpc import ExecuteBatchError

from avizor_service.logs.call_log import CallLog, Calls
from avizor_service.logs.rendering import Format, log_formatter, renderer, time_now
from avizor_service.logs.writer import LogWriter

_GRPC_AIO = "grpc._cython.cygrpc"

_OURS = ("avizor_service", "avizor_inference")

# How a record begins of a header that is not UTF-8. Any client can send one, and it is refused or not looked at.
_BAD_HEADER = "Invalid encoding"

Level = Literal["debug", "info", "warning", "error"]


@contextlib.contextmanager
def open_log(
    format: Format | Literal["auto"], level: Level, calls: Calls, dropped: Callable[[int], None], worker: int = 0
) -> Iterator[CallLog]:
    """Write the log of this process to standard error; yield what writes the lines of calls. Write the last lines at the end.

    format: `auto` is `console` on a terminal, else `json`. level: the least that is written; of other libraries, warnings at
    least. dropped: called with each number of lines that could not be written, from any thread. worker: the number of this
    process among several, which each line has; 0 if it is none of them.
    """
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    chosen: Format = ("console" if is_terminal else "json") if format == "auto" else format
    render = renderer(chosen, is_terminal, worker)

    def notice(lines: int) -> str:
        text = "log lines were dropped: nobody reads the log fast enough, or its disk is full"
        return render({"time": time_now(), "level": "warning", "event": text, "logger": __name__, "lines": lines})

    with _standard_error() as file:
        writer = LogWriter(file, dropped, notice)
        handler = _ToWriter(writer)
        handler.setFormatter(log_formatter(chosen, is_terminal, worker))
        try:
            with _handling_all(handler, getattr(logging, level.upper())):
                yield CallLog(writer.put, render, calls, level)
        finally:
            writer.close()


class _ToWriter(logging.Handler):
    """Gives the records of modules to the writer."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler.emit."""
        try:
            self._writer.put(self.format(record))
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def _standard_error() -> Iterator[int]:
    """Yield the open file of standard error; the null device if this process has none."""
    if sys.stderr is not None:
        yield sys.stderr.fileno()
        return
    file = os.open(os.devnull, os.O_WRONLY)
    try:
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _handling_all(handler: logging.Handler, level: int) -> Iterator[None]:
    """Let a handler have the records of all modules, and no other one."""
    root, grpc_aio = logging.getLogger(), logging.getLogger(_GRPC_AIO)
    before, handlers = root.level, root.handlers[:]
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    grpc_aio.addFilter(_is_of_the_gateway)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        grpc_aio.removeFilter(_is_of_the_gateway)
        for name in _OURS:
            logging.getLogger(name).setLevel(logging.NOTSET)
        root.setLevel(before)
        root.handlers[:] = handlers


def _is_of_the_gateway(record: logging.LogRecord) -> bool:
    """Return whether a record may be written.

    A client may cancel, or its deadline may pass, while its answer or status is sent: that is not an error of the gateway.
    gRPC finds that it cannot send, and writes a traceback for each such call.
    """
    is_client_gone = record.exc_info is not None and isinstance(record.exc_info[1], ExecuteBatchError)
    return not is_client_gone and not str(record.msg).startswith(_BAD_HEADER)

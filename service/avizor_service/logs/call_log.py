"""Write one line for each call: who asked which model for what, what came of it, and how long it took. No payloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from avizor_inference.error_text import printable
from avizor_service.call_record import CallRecord, begin_record
from avizor_service.callers import current_caller
from avizor_service.logs.rendering import time_now

# Which calls have a line.
Calls = Literal["all", "failed", "none"]

# By the code of a call; `warning` for all others that failed. A client may cancel whatever it likes.
_LEVELS = {"OK": "info", "CANCELLED": "info", "INTERNAL": "error", "UNKNOWN": "error", "DATA_LOSS": "error"}

_SEVERITY = {"debug": 10, "info": 20, "warning": 30, "error": 40}

# Characters of a failed call's message that are written.
_LONGEST_MESSAGE = 200

# Characters of what a client calls that is not there, or may not be called.
_LONGEST_PATH = 100


class CallLog:
    """Writes the lines of calls. put: takes a rendered line. level: the least that is written. which: `all`, `failed`, `none`.

    Of `failed` are calls that end with an error, and those of which an item does.
    """

    def __init__(
        self, put: Callable[[str], None], render: Callable[[dict[str, Any]], str], which: Calls, level: str = "info"
    ) -> None:
        self._put, self._render, self._which, self._least = put, render, which, _SEVERITY[level]

    def ended(self, record: CallRecord, rpc: str, model: str, code: str, seconds: float, message: str = "") -> None:
        """Write the line of a call that has ended. message: of its status, if it failed."""
        if self._which == "none" or (self._which == "failed" and code == "OK" and not record.failed_items):
            return
        level = _LEVELS.get(code, "warning")
        if _SEVERITY[level] < self._least:
            return
        line: dict[str, Any] = {
            "time": time_now(),
            "level": level,
            "event": "call",
            "request_id": record.request_id,
            "rpc": rpc,
            "model": model,
            "code": code,
            "duration_s": round(seconds, 6),
        }
        self._add_known(line, record)
        if message:
            line["message"] = printable(message[:_LONGEST_MESSAGE])
        self._put(self._render(line))

    def refused(self, path: str, header: Callable[[str], str], code: str, message: str) -> str:
        """Write the line of a call that was turned away by its headers alone; return its request id.

        path: what the client called. header: returns what it sent under a name in small letters; "" if nothing.
        """
        record = begin_record(header)
        record.token = current_caller().name
        self.ended(record, printable(path[:_LONGEST_PATH]), "", code, 0.0, message)
        return record.request_id

    def _add_known(self, line: dict[str, Any], record: CallRecord) -> None:
        """Add what is known of this call; of another kind of call it would not be."""
        if record.traceparent:
            line["trace_id"] = record.trace_id
        if record.token:
            line["token"] = record.token
        if record.version:
            line["version"] = record.version
        if record.sources:
            line["sources"] = list(map(printable, record.sources))
        if record.items:
            line["items"] = record.items
        if record.failed_items:
            line["failed_items"] = record.failed_items
        if record.anomalies is not None:
            line["anomalies"] = record.anomalies
        if record.alarms is not None:
            line["alarms"] = record.alarms

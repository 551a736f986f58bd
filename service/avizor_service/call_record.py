"""Note what is known of a call besides its answer: who calls, about what, under which ids. Never what it sends."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

REQUEST_ID, TRACEPARENT = "x-request-id", "traceparent"

# A request id that is kept as the client sends it; any other is replaced.
_PLAIN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# https://www.w3.org/TR/trace-context/#traceparent-header: version, trace id, id of the caller's span, flags.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

# Sources of one call that are noted, and characters of each: clients choose them.
_MOST_SOURCES, _LONGEST_SOURCE = 4, 64


_NOT_TRACED = contextlib.nullcontext()


class CallTrace(Protocol):
    """Holds the span of a call that is traced."""

    def part(self, name: str) -> AbstractContextManager[object]:
        """Surround a part of the call with a span of its own."""

    def traceparent(self) -> str:
        """Return what names the span that this task is in to others."""

    def end(self, model: str, code: str, message: str) -> None:
        """End the span. code, message: of the call's status."""


@dataclass(slots=True)
class CallRecord:
    """Holds what is noted of one call. RPCs fill in what they learn.

    request_id: the client's if it is plain, else a new one. traceparent: the client's, empty if there is none that is valid.
    token: name of the caller's token. version: of the model, 0 as long as it is not known. sources: the first few that the
    items name. items: of the request, or windows of a stream. failed_items: those with an error. anomalies: items, or stretches
    of a stream, that are flagged at what the caller asked for; None if the call judges nothing. alarms: of a stream.
    trace: of a call that is traced; `traceparent` is then that of its own span.
    """

    request_id: str = ""
    traceparent: str = ""
    token: str = ""
    version: int = 0
    sources: list[str] = field(default_factory=list)
    items: int = 0
    failed_items: int = 0
    anomalies: int | None = None
    alarms: int | None = None
    trace: CallTrace | None = None

    @property
    def trace_id(self) -> str:
        """Return the id of the trace that the call belongs to; empty if there is none."""
        return self.traceparent[3:35]

    def note_source(self, source: str) -> None:
        """Note where an item comes from, as the client says."""
        sources = self.sources
        if source and len(sources) < _MOST_SOURCES and (short := source[:_LONGEST_SOURCE]) not in sources:
            sources.append(short)


_current: ContextVar[CallRecord | None] = ContextVar("avizor_call", default=None)


def begin_record(header: Callable[[str], str]) -> CallRecord:
    """Return the record of a call that begins, and make it the current one of this task.

    header: returns what the client sent under a name in small letters; "" if nothing.
    """
    request_id, traceparent = header(REQUEST_ID), header(TRACEPARENT)
    if not request_id or not _PLAIN_ID.fullmatch(request_id):
        request_id = new_id()
    if traceparent and not _TRACEPARENT.fullmatch(traceparent):
        traceparent = ""
    record = CallRecord(request_id, traceparent)
    _current.set(record)
    return record


def current_record() -> CallRecord | None:
    """Return the record of the call that this task works for, None outside of calls."""
    return _current.get()


def call_part(name: str) -> AbstractContextManager[object]:
    """Surround a part of the current call with a span of this name, if the call is traced."""
    record = _current.get()
    return record.trace.part(name) if record and record.trace else _NOT_TRACED


def current_traceparent() -> str:
    """Return what names the current call's span to others: the client's if the call is not traced here; empty for none."""
    record = _current.get()
    if record is None:
        return ""
    return record.trace.traceparent() if record.trace else record.traceparent


def current_id() -> str:
    """Return the request id of the call that this task works for; a new one outside of calls, so that no two are alike."""
    record = _current.get()
    return record.request_id if record else new_id()


def new_id() -> str:
    """Return a request id that no other call has."""
    return os.urandom(16).hex()

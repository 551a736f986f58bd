"""Render the events of a log with structlog: JSON for programs, aligned text for people. No text can fake a line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor

from avizor_inference.error_text import printable
from avizor_service.call_record import current_record

Format = Literal["json", "console"]

# Characters of one message, and of one traceback (its end), that are written.
_LONGEST_TEXT, _LONGEST_TRACEBACK = 2000, 6000


def renderer(format: Format, colors: bool, worker: int = 0) -> Callable[[EventDict], str]:
    """Return what renders an event with `time`, `level`, `event` and more as one line.

    colors: of a console. worker: that writes the lines, added to each; 0 for none.
    """
    render, more = _renderer(format, colors), _of_worker(worker)
    return lambda event: str(render(None, event["level"], {**event, **more}))


def time_now() -> str:
    """Return the time as lines have it: UTC, with microseconds, as ISO 8601."""
    return f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def log_formatter(format: Format, colors: bool, worker: int = 0) -> logging.Formatter:
    """Return what formats the records of modules, ours and others', as the lines of calls are. See `renderer`."""
    more = _of_worker(worker)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            _described,
            lambda _logger, _level, event: {**event, **more},
            structlog.processors.format_exc_info,
            _escaped,
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(format, colors)],
    )


def _of_worker(number: int) -> EventDict:
    return {"worker": number} if number else {}


def _renderer(format: Format, colors: bool) -> Processor:
    if format == "json":
        return structlog.processors.JSONRenderer(serializer=_to_json)
    return structlog.dev.ConsoleRenderer(
        colors=colors,
        sort_keys=False,
        timestamp_key="time",
        pad_event_to=0,
        exception_formatter=structlog.dev.plain_traceback,
    )


def _to_json(event: EventDict, **_options: Any) -> str:
    return orjson.dumps(event, default=str).decode()


def _described(_logger: object, level: str, event: EventDict) -> EventDict:
    """Say when, how bad, which module, and for which call."""
    record: logging.LogRecord = event["_record"]
    first = {"time": time_now(), "level": level, "event": event.pop("event"), "logger": record.name}
    if call := current_record():
        first["request_id"] = call.request_id
    return first | dict(event)


def _escaped(_logger: object, _level: str, event: EventDict) -> EventDict:
    """Bound and escape the texts of a record: they may quote what a client has sent."""
    event["event"] = printable(str(event["event"])[:_LONGEST_TEXT])
    if trace := event.get("exception"):
        event["exception"] = "\n".join(map(printable, str(trace)[-_LONGEST_TRACEBACK:].splitlines()))
    return event

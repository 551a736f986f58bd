"""Receive the alerts of the local stack: print each on standard output, and return the last 100 at GET /alerts.

An alert that fires is a line with its labels and summary, and below it what was seen, what to do first, and where to look.
One that is resolved is a line.

In production a paging service takes its place. Alertmanager posts its webhook here. Needs only Python itself.
"""

from __future__ import annotations

import json
import re
import sys
from collections import deque
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8080
LARGEST_BODY = 2**20  # bytes; Alertmanager sends a few KiB
LONGEST_TEXT = 2000  # characters of a text that is printed

# Newest last. Appending to a deque is atomic, and so is copying it.
RECEIVED: deque[dict[str, Any]] = deque(maxlen=100)


def lines_of(alert: dict[str, Any]) -> list[str]:
    """Return an alert as lines for people to read, without control characters.

    The first has status, severity, name, labels and summary. If it fires, those below it are indented: the description, which
    has numbers and what to do first, the page on which flagged items are seen, the section of the manual, and the link to its
    expression in Prometheus.
    """
    labels = dict(alert.get("labels", {}))
    name, severity = labels.pop("alertname", "?"), labels.pop("severity", "-")
    where = " ".join(f"{key}={_quoted(str(value))}" for key, value in sorted(labels.items()))
    notes, status = alert.get("annotations", {}), str(alert.get("status", "?"))
    lines = [f"{status.upper():8s} {severity:6s} {name} {where}: {notes.get('summary', '')}"]
    if status == "firing":
        below = (
            ("", notes.get("description")),
            ("review: ", notes.get("review_url")),
            ("runbook: ", notes.get("runbook_url")),
            ("graph: ", alert.get("generatorURL")),
        )
        lines += [f"    {title}{text}" for title, text in below if text]
    return [_printable(line) for line in lines]


def _quoted(value: str) -> str:
    """Return the value of a label so that it cannot be taken for several labels."""
    return value if re.fullmatch(r'[^\s"=:]+', value) else json.dumps(value, ensure_ascii=False)


def _printable(text: str) -> str:
    """Return a text with control characters, and those that change the direction of writing, as escapes; and not too long.

    Labels hold names that clients chose: a terminal must not obey them, and a new line must not look like another alert.
    """
    escaped = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return escaped if len(escaped) <= LONGEST_TEXT else f"{escaped[:LONGEST_TEXT]}..."


class Handler(BaseHTTPRequestHandler):
    """Answers POST / (Alertmanager's webhook), GET /alerts (the received alerts, as JSON) and GET /healthz (200 if running)."""

    def do_POST(self) -> None:
        """Keep and print each alert of one notification."""
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= LARGEST_BODY:
            self._answer(413)
            return
        try:
            alerts = json.loads(self.rfile.read(length))["alerts"]
        except (ValueError, KeyError, TypeError):
            self._answer(400)
            return
        received = datetime.now(UTC).isoformat(timespec="milliseconds")
        for alert in alerts:
            RECEIVED.append({**alert, "received": received})
            first, *below = lines_of(alert)
            print(f"{received} {first}", *below, sep="\n", flush=True)
        self._answer(200)

    def do_GET(self) -> None:
        """Return the received alerts, or 200 for the health check, or 404."""
        if self.path == "/alerts":
            self._answer(200, json.dumps(list(RECEIVED)).encode())
        else:
            self._answer(200 if self.path == "/healthz" else 404)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing for a request, because the output is for alerts."""

    def _answer(self, code: int, body: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until the container is stopped."""
    print(f"receiving alerts on port {PORT}", file=sys.stderr, flush=True)
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()


if __name__ == "__main__":
    main()

"""Receive the alerts of the local stack: print each as a line on standard output, and return the last 100 at GET /alerts.

In production a paging service takes its place. Alertmanager posts its webhook here. Needs only Python itself.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8080
LARGEST_BODY = 2**20  # bytes; Alertmanager sends a few KiB

# Newest last. Appending to a deque is atomic, and so is copying it.
RECEIVED: deque[dict[str, Any]] = deque(maxlen=100)


def line_of(alert: dict[str, Any]) -> str:
    """Return an alert as one line for people to read."""
    labels = dict(alert.get("labels", {}))
    name, severity = labels.pop("alertname", "?"), labels.pop("severity", "-")
    where = " ".join(f"{key}={value}" for key, value in sorted(labels.items()))
    summary = alert.get("annotations", {}).get("summary", "")
    return f"{alert.get('status', '?').upper():8s} {severity:6s} {name} {where}: {summary}"


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
            print(received, line_of(alert), flush=True)
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

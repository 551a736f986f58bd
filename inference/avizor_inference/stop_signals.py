"""The signals that end a command: Ctrl-C, the end that a service manager asks for, and a terminal that is gone."""

from __future__ import annotations

import signal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

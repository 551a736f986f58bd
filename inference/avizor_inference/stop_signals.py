"""Name the signals that end a command: Ctrl-C, a service manager's request to stop, and a closed terminal."""

from __future__ import annotations

import signal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

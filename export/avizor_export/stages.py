"""Tell which stage of an export runs, and how long each took: as log records, which the command prints as lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Takes a DEBUG record as a stage begins, its args (name,), and an INFO record as it ends, its args (name, seconds).
log = logging.getLogger(__name__)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Log that the block begins, and, unless it raises, how many seconds it took. name: what the block does, in words."""
    log.debug("%s ...", name)
    started = time.monotonic()
    yield
    log.info("%s ... %.1f s", name, time.monotonic() - started)

"""support/warm_starts.py: commands that start warm are as if they had just been started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support import warm_starts
from support.waiting import wait_until

from avizor_inference.stop_signals import signals_blocked


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which signals a process blocks")
def test_what_blocks_signals_while_a_starter_starts_blocks_none_of_its_commands() -> None:
    with signals_blocked():
        used = warm_starts._starter.__wrapped__(("health",))
    (process,) = warm_starts._STARTERS[-1:]
    try:
        wait_until(lambda: "SigBlk:\t0000000000000000" in Path(f"/proc/{process.pid}/status").read_text())
    finally:
        used.close()
        process.wait(timeout=60)
        warm_starts._STARTERS.remove(process)

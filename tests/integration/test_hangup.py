"""SIGHUP while a gateway starts: the gateway goes on, and files that were read before the signal are read again."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from integration.gateway import AVIZOR


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hangup_while_the_gateway_starts_does_not_end_it(models: Path, tmp_path: Path, workers: int) -> None:
    ports = ["--port", "0", "--metrics-port", "0", "--no-http"]
    command = [AVIZOR, "serve", "--models", models, "--alpha", "0.05", "--workers", str(workers), "--scan-s", "0", *ports]
    log = tmp_path / "log"
    with log.open("w") as errors:
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        wait_until_held(process)
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("serving gRPC on ")
        deadline = time.monotonic() + 20
        while workers == 1 and "models: read again" not in log.read_text():  # several read them later than the signal came
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


def wait_until_held(process: subprocess.Popen[str]) -> None:
    """Return when the process does not let SIGHUP through."""
    deadline = time.monotonic() + 20
    while not held(process.pid):
        assert process.poll() is None
        assert time.monotonic() < deadline, "SIGHUP would end the process"


def held(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("SigBlk:"))
    return bool(int(mask, 16) & 1 << (signal.SIGHUP - 1))

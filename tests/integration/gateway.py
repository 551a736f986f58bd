"""Run a gateway in a separate process on free ports, and build the items that tests send to it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import soundfile
from PIL import Image
from support.sounds import SAMPLE_RATE, tone
from support.warm_starts import WarmPopen

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc

Stub = inference_pb2_grpc.InferenceServiceStub

AVIZOR = Path(sys.executable).with_name("avizor")


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    process: subprocess.Popen[str]
    address: str
    metrics_url: str
    http_url: str = ""

    def stub(self, channel: grpc.Channel) -> Stub:
        return Stub(channel)

    def metrics(self) -> dict[str, float]:
        """Series as exposed -> value."""
        with urllib.request.urlopen(self.metrics_url, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {series: float(value) for series, value in pairs}

    def wait_until_idle(self) -> None:
        """Return when no call is in progress. A call is, until its client has the answer and the gateway knows that."""
        deadline = time.monotonic() + 30
        while self.metrics()["avizor_in_flight_requests"]:
            assert time.monotonic() < deadline, "calls are in progress, but nobody calls"
            time.sleep(0.02)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextlib.contextmanager
def gateway(models: Path, *options: object, log: Path = Path(os.devnull)) -> Iterator[Gateway]:
    ports = ("--port", 0, "--metrics-port", 0, "--http-port", 0)
    # One decoder: each takes a fifth of the CPU of a start, and most gateways of the tests decode little.
    command = [AVIZOR, "serve", "--models", models, *ports, "--decoders", 1, *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AVIZOR_SERVE")}
    with log.open("w") as errors:
        process = WarmPopen([str(part) for part in command], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.match(r"serving gRPC on (\S+), metrics on ([^\s,]+)(?:, HTTP on (\S+))?", line)
        assert match, f"the gateway did not start: {line!r}"
        yield Gateway(process, match[1], match[2], match[3] or "")
    finally:
        process.kill()
        process.wait()


def wav(samples: np.ndarray, rate: int = SAMPLE_RATE, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind)
    return buffer.getvalue()


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def normal(seed: int = 500) -> bytes:
    return wav(tone(3 * 4096 / SAMPLE_RATE, seed=seed))


def odd() -> bytes:
    return wav(np.clip(0.3 * np.random.default_rng(0).standard_normal(3 * 4096), -1, 1))


def refused(call: grpc.RpcError) -> tuple[str, str]:
    return call.code().name, call.details()


IMAGE = pb.Item(image=png(np.zeros((32, 32), np.uint8)))

"""Run the last step of the demo: start the gateway, send it recordings over gRPC, and print its answers and metrics."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc

# The gateway is on this machine, whatever http_proxy says.
_CHANNEL = [("grpc.enable_http_proxy", 0)]

SHOWN = re.compile(r"avizor_(items_scored|anomalies)_total|avizor_alert_alpha|avizor_engine_up")


def show_gateway(avizor: Path, models: Path, machine: Path, alpha: float) -> None:
    """Send the first recording of each condition of one machine, and print the answers and the metrics."""
    with _gateway(avizor, models, alpha) as (address, metrics_url), grpc.insecure_channel(address, _CHANNEL) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        print(f"\n  {'recording':24s} heard as       p-value   flagged")
        for path in sorted(machine.glob("*_0000.wav"), key=lambda path: (not path.name.startswith("normal"), path.name)):
            print("  " + _answer(stub, path, source=machine.name))
        print(f"\nwhat Prometheus would read at {metrics_url}, of {machine.name}:")
        for line in _metrics(metrics_url, machine.name):
            print(f"  {line}")
    print(
        "The alert of monitoring/prometheus/rules compares flagged / scored with alpha; healthy machines stay near 1, and many"
        " times that over many items calls somebody."
    )


def _answer(stub: inference_pb2_grpc.InferenceServiceStub, path: Path, source: str) -> str:
    item = pb.Item(source=source, audio=path.read_bytes())
    heard = stub.Classify(pb.ClassifyRequest(model="machine-type", items=[item])).items[0].classes[0]
    verdict = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="machine-sound", items=[item])).items[0]
    if verdict.HasField("error"):
        return f"{path.name:24s} {verdict.error.message}"
    flagged = "yes" if verdict.is_anomaly else "no"
    return f"{path.name:24s} {heard.label:6s} {heard.probability:.2f}   {verdict.p_value:.4f}   {flagged}"


def _metrics(url: str, source: str) -> Iterator[str]:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the address that the gateway printed
        for line in answer.read().decode().splitlines():
            if SHOWN.match(line) and ("source=" not in line or f'source="{source}"' in line):
                yield line


@contextmanager
def _gateway(avizor: Path, models: Path, alpha: float) -> Iterator[tuple[str, str]]:
    """Start a gateway on free ports, yield its gRPC address and its metrics URL, and stop it with SIGTERM afterwards."""
    ports = ["--port", "0", "--metrics-port", "0", "--http-port", "0"]
    command = [str(avizor), "serve", "--models", str(models), "--alpha", str(alpha), "--log-level", "warning", *ports]
    print("$ " + " ".join(command), flush=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        match = re.match(r"serving gRPC on (\S+), metrics on ([^\s,]+)", process.stdout.readline())
        if match is None:
            sys.exit("the gateway did not start")
        yield match[1], match[2]
    finally:
        process.terminate()
        if process.wait(timeout=30):
            sys.exit(f"the gateway ended with exit code {process.returncode}")

"""Start each server of the benchmark on a free port of 127.0.0.1, and stop it at the end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from integration.front_door import front_door as nginx_of_the_stack  # noqa: E402 - the folder is found only now
from integration.front_door import token_file  # noqa: E402
from triton_server.install import install  # noqa: E402
from triton_server.server import TritonServer  # noqa: E402

CLASSIFY = "/avizor.v1.InferenceService/Classify"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
START_S = 120.0


@dataclass(frozen=True)
class Served:
    """Describes a running server: where it is, what to send, and the processes whose CPU time counts.

    certificate, metadata, connections: for the load generator.
    """

    address: str
    method: str
    processes: list[psutil.Process]
    certificate: Path | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    connections: int = 1

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU time so far of each part of its processes, in seconds.

        Parts of a process of Python are its first thread, which has the event loop if there is one, its other threads, and the
        processes that it has started. Any other process, such as nginx or Triton, is one part with those that it has started.
        """
        parts: dict[str, float] = {}
        for process in self.processes:
            own = process.cpu_times()
            below = [each.cpu_times() for each in process.children(recursive=True)]
            started = float(sum(time.user + time.system for time in below))
            if (name := process.name()).startswith(("python", "avizor", "mlserver")):
                threads = {thread.id: thread.user_time + thread.system_time for thread in process.threads()}
                first = threads[process.pid]
                found = {"first thread": first, "other threads": own.user + own.system - first, "processes": started}
            else:
                found = {name: own.user + own.system + started}
            for part, seconds in found.items():
                parts[part] = parts.get(part, 0.0) + seconds
        return parts


@contextlib.contextmanager
def bare(kind: str, model_file: Path, shape: tuple[int, ...]) -> Iterator[Served]:
    """Serve with bare.py."""
    command = [sys.executable, HERE / "bare.py", kind, model_file, ",".join(map(str, shape))]
    with _process(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Served(process.stdout.readline().strip(), "/bare.Bare/Run", [psutil.Process(process.pid)])


@contextlib.contextmanager
def gateway(
    models: Path,
    engine: str,
    beside: list[psutil.Process],
    *options: str,
    method: str = CLASSIFY,
    connections: int = 1,
    metadata: dict[str, str] | None = None,
) -> Iterator[Served]:
    """Serve with `avizor serve`. beside: other processes that do a part of the work. method: the RPC, or the path of HTTP.

    connections, metadata: of the load generator.
    """
    command: list[object] = [Path(sys.executable).with_name("avizor"), "serve", "--models", models, "--engine", engine]
    command += ["--port", "0", "--metrics-port", "0", "--http-port", "0", *options]
    with _process(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        match = re.match(r"serving gRPC on (\S+),.* HTTP on (\S+)", line := process.stdout.readline())
        if match is None:
            raise SystemExit(f"the gateway did not start: {line!r}")
        processes = [psutil.Process(process.pid), *beside]
        address = match[2] if method.startswith("/v2/") else match[1]
        yield Served(address, method, processes, metadata=metadata or {}, connections=connections)


@contextlib.contextmanager
def triton(models: Path) -> Iterator[Served]:
    """Serve with Triton."""
    with TritonServer(install(), models) as server:
        yield Served(server.grpc_url, MODEL_INFER, [psutil.Process(server.pid)])


@contextlib.contextmanager
def front_door(behind: Served, folder: Path) -> Iterator[Served]:
    """Serve Triton's calls through nginx with the configuration of the compose stack: TLS, tokens, kept connections."""
    token = token_file(folder, bench="")["bench"]
    with nginx_of_the_stack(folder, "auto", triton_8001=behind.address) as door:
        served = [psutil.Process(door.process.pid), *behind.processes]
        yield Served(door.address, behind.method, served, folder / "ca.pem", {"authorization": f"Bearer {token}"})


@contextlib.contextmanager
def mlserver(python: Path, name: str, model_file: Path, folder: Path, *, batching: bool) -> Iterator[Served]:
    """Serve with MLServer, in its own process; `batching` turns its adaptive batching on. python: of its environment."""
    ports = [_free_port() for _ in range(3)]
    shutil.copy(HERE / "mlserver_runtime.py", folder)
    settings: dict[str, object] = {
        "name": name,
        "implementation": "mlserver_runtime.OnnxModel",
        "parameters": {"uri": str(model_file)},
    }
    if batching:
        settings |= {"max_batch_size": 32, "max_batch_time": 0.002}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    names = ("http_port", "grpc_port", "metrics_port")
    server = dict(zip(names, ports, strict=True)) | {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}
    (folder / "settings.json").write_text(json.dumps(server))
    with _process([python.with_name("mlserver"), "start", folder], stdout=subprocess.DEVNULL, cwd=folder) as process:
        _wait_for(f"127.0.0.1:{ports[1]}", process)
        yield Served(f"127.0.0.1:{ports[1]}", MODEL_INFER, [psutil.Process(process.pid)])


@contextlib.contextmanager
def _process(command: list[object], stdout: int, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AVIZOR_SERVE")}
    stderr = None if os.environ.get("BENCH_SHOW_ERRORS") else subprocess.DEVNULL
    process = subprocess.Popen(list(map(str, command)), stdout=stdout, stderr=stderr, text=True, env=environment, cwd=cwd)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(address: str, process: subprocess.Popen[str]) -> None:
    host, port = address.rsplit(":", 1)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.1)
    raise SystemExit(f"{process.args!r} does not listen on {address}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""Run a Triton container from an image, for the suite on a GPU with NVIDIA's own image."""

from __future__ import annotations

import contextlib
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import tritonclient.grpc
from tritonclient.utils import InferenceServerException

START_TIMEOUT_S = 300.0

COMMAND = (
    "tritonserver", "--model-repository=/models", "--model-control-mode=explicit", "--load-model=*",
    "--disable-auto-complete-config", "--strict-readiness=1",
)  # fmt: skip


@contextlib.contextmanager
def triton_container(image: str, models: Path, *, gpu: bool) -> Iterator[str]:
    """host:port of the gRPC of a container that serves `models`; removed afterwards. Raises RuntimeError with its log."""
    name = f"avizor-test-{uuid.uuid4().hex[:8]}"
    options = ["--gpus", "all", "-e", "NVIDIA_TF32_OVERRIDE=0"] if gpu else []  # as in docker-compose.gpu.yml
    mount = f"{models.resolve()}:/models:ro"
    _docker("run", "-d", "--name", name, "--shm-size", "512m", "-p", "127.0.0.1::8001", "-v", mount, *options, image, *COMMAND)
    try:
        address = _docker("port", name, "8001").splitlines()[0]
        _wait(address, name)
        yield address
    finally:
        _docker("rm", "-f", name)


def _wait(address: str, name: str) -> None:
    client = tritonclient.grpc.InferenceServerClient(address)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(InferenceServerException):
            if client.is_server_ready(client_timeout=1.0):
                return
        if _docker("inspect", "-f", "{{.State.Running}}", name) != "true":
            break
        time.sleep(0.5)
    raise RuntimeError(f"Triton did not become ready:\n{_docker('logs', '--tail', '40', name)}")


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"docker {arguments[0]} failed: {done.stderr.strip()}")
    return (done.stdout + (done.stderr if arguments[0] == "logs" else "")).strip()

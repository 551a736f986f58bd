"""Run the compose stack under a separate project name and on free ports, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.environment import ROOT

PORTS = ("AVIZOR_FRONT_PORT", "AVIZOR_PROMETHEUS_PORT", "AVIZOR_ALERTMANAGER_PORT")
GPU = ("-f", "docker-compose.yml", "-f", "docker-compose.gpu.yml")


class Stack:
    """A running stack."""

    def __init__(self, models: Path, alpha: float) -> None:
        self.project = f"avizor-test-{uuid.uuid4().hex[:6]}"
        self.environment = os.environ | {"AVIZOR_MODELS": str(models), "AVIZOR_ALPHA": str(alpha)}
        self.environment |= {name: str(_free_port()) for name in PORTS}
        self.environment |= {"AVIZOR_REVIEW_PORT": str(_free_port()), "AVIZOR_KEEP_FLAGGED": "/flagged"}
        self.environment["AVIZOR_NETWORK"] = f"10.214.{secrets.randbelow(250)}"

    @property
    def secrets(self) -> Path:
        """What deploy/secrets.sh has made."""
        return ROOT / "deploy" / "secrets"

    @property
    def front(self) -> str:
        """host:port of the front door."""
        return f"localhost:{self.environment['AVIZOR_FRONT_PORT']}"

    @property
    def token(self) -> str:
        """The value of a caller's authorization."""
        return f"Bearer {(self.secrets / 'token').read_text().strip()}"

    @property
    def certificate(self) -> Path:
        """What callers trust."""
        return self.secrets / "certificate" / "tls.crt"

    def channel(self) -> grpc.Channel:
        """TLS to the front door; calls bring their token themselves."""
        return grpc.secure_channel(self.front, grpc.ssl_channel_credentials(self.certificate.read_bytes()))

    def command(self, *arguments: str) -> list[str]:
        """A command of docker-compose, to be run in the project's root with `environment`."""
        return [*_compose(), "-p", self.project, *arguments]

    def compose(self, *arguments: str, timeout_s: float = 600) -> str:
        """Run docker-compose; its output. Raises with what it said."""
        command = self.command(*arguments)
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-3000:]}{done.stderr[-5000:]}"
        return done.stdout

    def wait_until_healthy(self) -> None:
        """Compose itself waits for those alone that others depend on."""
        deadline = time.monotonic() + 180
        while True:
            states = {name: each["State"] for name, each in self.containers().items()}
            waited_for = [name for name, each in states.items() if each.get("Health", {}).get("Status", "healthy") != "healthy"]
            if not waited_for:
                return
            assert time.monotonic() < deadline, f"not healthy: {', '.join(waited_for)}"
            time.sleep(1)

    def read_secrets_again(self) -> None:
        """Follow the recipe of docs/operations.md after files of the secrets were changed."""
        subprocess.run([ROOT / "deploy" / "secrets.sh"], check=True)
        self.compose("exec", "-T", "nginx", "nginx", "-s", "reload")

    def containers(self) -> dict[str, dict[str, Any]]:
        """What `docker inspect` says of the container of each service, also of those that have ended."""
        named = ("--filter", f"label=com.docker.compose.project={self.project}")
        ids = subprocess.run(["docker", "ps", "-aq", *named], capture_output=True, text=True, check=True).stdout.split()
        found = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True).stdout
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in json.loads(found)}

    def firing(self) -> set[str]:
        """Names of the alerts that fire in Prometheus now, with the values of their label `to` or `model`, if they have one."""
        address = f"http://127.0.0.1:{self.environment['AVIZOR_PROMETHEUS_PORT']}/api/v1/alerts"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        alerts = json.load(opener.open(address, timeout=20))["data"]["alerts"]
        labels = [alert["labels"] for alert in alerts if alert["state"] == "firing"]
        return {" ".join([each["alertname"], *(each[key] for key in ("to", "model") if key in each)]) for each in labels}

    def alerts(self) -> list[dict[str, Any]]:
        """What the webhook has received, newest last."""
        code = "import urllib.request; print(urllib.request.urlopen('http://localhost:8080/alerts').read().decode())"
        received: list[dict[str, Any]] = json.loads(self.compose("exec", "-T", "alerts", "python", "-c", code))
        return received


@contextlib.contextmanager
def stack(models: Path, alpha: float) -> Iterator[Stack]:
    """Start everything and wait until it is healthy; print the logs if the test fails; remove everything."""
    _need_docker()
    _need_images()
    subprocess.run([ROOT / "deploy" / "secrets.sh"], check=True)
    running = Stack(models, alpha)
    try:
        running.compose("up", "--build", "--detach", timeout_s=1500)
        running.wait_until_healthy()
        yield running
    except BaseException:
        subprocess.run(running.command("logs", "--tail", "60"), cwd=ROOT, env=running.environment, check=False)
        raise
    finally:
        running.compose(*GPU, "down", "--volumes", "--remove-orphans", "--timeout", "5")


def _need_docker() -> None:
    if shutil.which("docker") is None or not _docker("info"):
        pytest.skip("no Docker engine is running")


def _need_images() -> None:
    """Images that are not here come from their registries; where none is reached, from local stand-ins."""
    names = re.findall(r"^    image: (\S+)$", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE)
    wanted = [name for name in names if not name.startswith(("avizor-", "grafana/"))]
    absent = [name for name in wanted if not _docker("image", "inspect", name)]
    if all(_docker("pull", "-q", name) for name in absent):
        return
    build = Path(os.environ.get("AVIZOR_STAND_INS", ROOT.parent / "shared" / "stand-ins")) / "build"
    if not build.exists():
        pytest.skip(f"no registry is reached for {', '.join(absent)}, and there are no stand-ins")
    subprocess.run([build, *absent], check=True)


def _compose() -> list[str]:
    return ["docker", "compose"] if _docker("compose", "version") else ["docker-compose"]


def _docker(*arguments: str) -> bool:
    """Whether a command of docker's succeeds."""
    return subprocess.run(["docker", *arguments], capture_output=True, check=False).returncode == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

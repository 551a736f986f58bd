"""deploy/up.sh trains only if there are no models, uses the folder that is named, and says where the stack is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.environment import ROOT

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with what the script needs; `make` and Compose only write down how they are called."""
    (tmp_path / "deploy" / "secrets").mkdir(parents=True)
    for name in ("up.sh", "secrets.sh"):
        shutil.copy(ROOT / "deploy" / name, tmp_path / "deploy")
    return tmp_path


def up(clone: Path, *hosts: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [clone / "deploy" / "up.sh", *hosts],
        env={"PATH": os.environ["PATH"], "COMPOSE": "echo called compose", "MAKE": "echo called make", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def put_model(folder: Path) -> None:
    (folder / "fan").mkdir(parents=True)
    (folder / "fan" / "config.pbtxt").touch()


@pytest.mark.parametrize("is_there", [False, True])
def test_an_empty_folder_gets_the_models_of_the_demo(clone: Path, is_there: bool) -> None:
    if is_there:
        (clone / "models").mkdir()
    assert "called make demo-models" in up(clone).stdout


def test_with_models_nothing_is_installed_or_trained(clone: Path) -> None:
    put_model(clone / "models")
    done = up(clone)
    assert done.returncode == 0, done.stderr
    assert "called make" not in done.stdout
    assert "called compose up --build --detach" in done.stdout


def test_a_folder_that_is_named_is_used_and_never_filled(clone: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    refused = up(clone, AVIZOR_MODELS=str(mine))
    assert refused.returncode == 1
    assert f"AVIZOR_MODELS={mine} holds no model" in refused.stderr
    assert "called" not in refused.stdout
    put_model(mine)
    (clone / ".env").write_text(f"AVIZOR_MODELS={mine}\n")
    done = up(clone)
    assert "called make" not in done.stdout
    assert str(mine) in done.stdout


def test_it_says_the_address_where_the_token_is_and_the_next_step(clone: Path) -> None:
    put_model(clone / "models")
    said = up(clone, "door.example.com", AVIZOR_FRONT_PORT="8444").stdout
    assert "https://door.example.com:8444" in said
    assert "deploy/secrets/token" in said
    token = (clone / "deploy" / "secrets" / "token").read_text().strip()
    assert token not in said
    (command,) = [line.strip() for line in said.splitlines() if line.startswith("  curl")]
    dry = command.replace("curl", "printf '%s\\n'")
    assert (
        f"authorization: Bearer {token}"
        in subprocess.run(["bash", "-c", dry], cwd=clone, capture_output=True, text=True, check=True).stdout
    )

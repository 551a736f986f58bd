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
    for name in ("up.sh", "setting.sh", "secrets.sh"):
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


@pytest.fixture
def compose(tmp_path: Path) -> Path:
    """Return a Compose that writes down how it is called; `up` fails if the file `fails` is there, and nginx runs after it."""
    path = tmp_path / "compose"
    path.write_text(
        f"""#!/bin/sh
case "$1" in
  ps) [ ! -e {tmp_path}/up ] || echo 0123456789ab ;;
  version) ;;
  *) echo called compose "$@" ;;
esac
[ "$1" != up ] || {{ [ ! -e {tmp_path}/fails ] && touch {tmp_path}/up; }}
"""
    )
    path.chmod(0o755)
    return path


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


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_a_folder_that_is_named_is_used_and_never_filled(clone: Path, tmp_path: Path, quote: str) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    refused = up(clone, AVIZOR_MODELS=str(mine))
    assert refused.returncode == 1
    assert f"AVIZOR_MODELS={mine} holds no model" in refused.stderr
    assert "called" not in refused.stdout
    put_model(mine)
    (clone / ".env").write_text(f"AVIZOR_MODELS={quote}{mine}{quote}\n")  # as Compose reads it
    done = up(clone)
    assert "called make" not in done.stdout
    assert f"models        {mine}\n" in done.stdout, done.stderr


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


def test_a_second_run_keeps_all_and_has_the_front_door_read_its_files_again(clone: Path, compose: Path) -> None:
    put_model(clone / "models")
    first = up(clone, COMPOSE=str(compose))
    secrets = {path: path.read_bytes() for path in (clone / "deploy" / "secrets").rglob("*") if path.is_file()}
    second = up(clone, COMPOSE=str(compose))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert {path: path.read_bytes() for path in (clone / "deploy" / "secrets").rglob("*") if path.is_file()} == secrets
    assert "called compose exec" not in first.stdout
    assert "called compose exec -T nginx nginx -s reload" in second.stdout
    assert "The stack runs." in second.stdout


def test_without_docker_it_says_so_before_it_trains_or_makes_anything(clone: Path) -> None:
    refused = up(clone, COMPOSE="no-such-compose")
    assert refused.returncode == 1
    assert "needs Docker with Compose" in refused.stderr
    assert "called" not in refused.stdout
    assert list((clone / "deploy" / "secrets").iterdir()) == []


def test_a_stack_that_does_not_start_is_not_said_to_run(clone: Path, compose: Path) -> None:
    put_model(clone / "models")
    (clone / "fails").touch()
    failed = up(clone, COMPOSE=str(compose))
    assert failed.returncode == 1
    assert "AVIZOR_FRONT_PORT" in failed.stderr
    assert "The stack runs." not in failed.stdout


def test_a_certificate_that_cannot_be_used_stops_it(clone: Path, compose: Path) -> None:
    put_model(clone / "models")
    assert up(clone, COMPOSE=str(compose)).returncode == 0
    (clone / "deploy" / "secrets" / "key" / "tls.key").unlink()
    refused = up(clone, COMPOSE=str(compose))
    assert refused.returncode == 1
    assert "key/tls.key is missing" in refused.stderr
    assert "called" not in refused.stdout

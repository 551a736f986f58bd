"""The probe tells a front door that answers from one that refuses its token, has the wrong certificate, or is down."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from integration.front_door import FrontDoor, front_door, token_file
from integration.gateway import Gateway, gateway
from prometheus_client import CollectorRegistry
from support.environment import ROOT
from triton_server.install import TritonInstall
from triton_server.server import TritonServer


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("probe", ROOT / "deploy" / "probe" / "probe.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door")
    (folder / "token").write_text(token_file(folder, probe="")["probe"] + "\n")
    return folder


@pytest.fixture(scope="module")
def behind(folder: Path, models: Path) -> Iterator[Gateway]:
    with gateway(models, "--tokens", folder / "tokens", "--alpha", 0.05) as running:
        yield running


@pytest.fixture(scope="module")
def door(folder: Path, behind: Gateway, models: Path, triton_install: TritonInstall) -> Iterator[FrontDoor]:
    with (
        TritonServer(triton_install, models) as triton,
        front_door(folder, triton_8001=triton.grpc_url, gateway_50051=behind.address) as running,
    ):
        yield running


def values(probe: ModuleType, target: str, certificate: Path, token: Path) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(probe.FrontDoor(target, certificate, token))
    found = {sample.labels.get("to", sample.name): sample.value for family in registry.collect() for sample in family.samples}
    ends = found.pop("avizor_front_door_certificate_expires_timestamp_seconds", 0)
    return found | {"has_end": float(ends > 1.7e9)}


def test_a_front_door_that_answers_is_up_for_both_servers(probe: ModuleType, door: FrontDoor, folder: Path) -> None:
    """What it trusts is the certificate itself, issued by a CA that it does not know, for a name that is not the target's."""
    target = f"127.0.0.1:{door.port}"
    assert values(probe, target, folder / "tls_certificate", folder / "token") == {"gateway": 1, "triton": 1, "has_end": 1}


def test_one_that_refuses_the_token_is_not(
    probe: ModuleType, door: FrontDoor, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("of-nobody")
    found = values(probe, door.address, folder / "tls_certificate", tmp_path / "token")
    assert found == {"gateway": 0, "triton": 0, "has_end": 1}
    assert "gateway: UNAUTHENTICATED" in capsys.readouterr().err


def test_nor_is_one_with_a_certificate_that_clients_do_not_trust(
    probe: ModuleType, door: FrontDoor, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "other").mkdir()
    shutil.copy(folder / "tokens", folder / "other")
    with front_door(folder / "other"):
        other = folder / "other" / "tls_certificate"
        assert values(probe, door.address, other, folder / "token") == {"gateway": 0, "triton": 0, "has_end": 0}
    assert "no TLS" in capsys.readouterr().err


def test_a_server_that_is_away_is_told_apart_and_so_is_its_return(
    probe: ModuleType, door: FrontDoor, behind: Gateway, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (probe, door.address, folder / "tls_certificate", folder / "token")
    assert behind.stop() == 0
    assert values(*arguments) == {"gateway": 0, "triton": 1, "has_end": 1}
    assert "gateway: UNAVAILABLE" in capsys.readouterr().err
    door.stop()
    assert values(*arguments) == {"gateway": 0, "triton": 0, "has_end": 0}

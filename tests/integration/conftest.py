"""Provide fixtures for the integration suite: a gateway over each engine, a server of S3, a repository to change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from integration.gateway import Gateway, Stub, gateway
from support.environment import device

from avizor_client import connection

if TYPE_CHECKING:
    from support.object_stores import S3


@pytest.fixture(scope="module", params=["embedded", "triton"])
def served(request: pytest.FixtureRequest, models: Path) -> Iterator[Gateway]:
    if request.param == "embedded":
        engine = ["--engine", "ort", "--device", device()]
    else:
        engine = ["--engine", f"triton://{request.getfixturevalue('triton_address')}"]
    with gateway(models, *engine, "--alpha", 0.05, "--sources", "c", "--max-windows", 20, "--decoders", 2) as running:
        yield running


@pytest.fixture
def stub(served: Gateway) -> Iterator[Stub]:
    with grpc.insecure_channel(served.address) as channel:
        yield served.stub(channel)


@pytest.fixture
def tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients of this process wait less before they try a call again: all tries would take 5 s."""
    policy = json.dumps(connection._SERVICE_CONFIG).replace('"0.2s"', '"0.01s"').replace('"3s"', '"0.15s"')
    options = {**dict(connection._OPTIONS), "grpc.service_config": policy}
    monkeypatch.setattr(connection, "_OPTIONS", list(options.items()))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A server that this process, and those that it starts, use."""
    from support.object_stores import reached, s3_server  # it takes a second, and few tests need it

    with s3_server() as server, reached(server, monkeypatch):
        yield server


@pytest.fixture
def copied(models: Path, tmp_path: Path) -> Path:
    """A repository of a classifier and an autoencoder with a calibration, to change."""
    for name in ("digits", "transfers"):
        shutil.copytree(models / name, tmp_path / "models" / name)
    return tmp_path / "models"

"""Provide a server with all models that load, and a repository that tests can change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.triton_server.made_models import save_classifier, save_doubler, save_lookup, save_slow
from triton_server.install import TritonInstall
from triton_server.server import TritonServer


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All models that load."""
    folder = tmp_path_factory.mktemp("models")
    save_classifier(folder)
    save_lookup(folder)
    save_doubler(folder)
    save_slow(folder)
    return folder


@pytest.fixture(scope="module")
def server(triton_install: TritonInstall, repository: Path) -> Iterator[TritonServer]:
    """A server for all tests that leave it as it was."""
    with TritonServer(triton_install, repository) as running:
        yield running


@pytest.fixture
def classifier_only(tmp_path: Path) -> Path:
    """A repository to change, and quick to load."""
    save_classifier(tmp_path / "models")
    return tmp_path / "models"

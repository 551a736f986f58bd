"""docs/security.md: its commands make files that the gateway takes, and its lines of tokens are read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import trustme
from support.certificates import certificate_files
from support.environment import ROOT

from avizor_service.certificates import Certificates, TlsFiles
from avizor_service.metrics import Metrics
from avizor_service.tokens import read_tokens

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of the page have run."""
    path = tmp_path_factory.mktemp("secrets")
    for block in blocks("sh"):
        subprocess.run(["bash", "-euc", block], cwd=path, check=True, capture_output=True, timeout=60)
    return path


def test_the_lines_of_tokens_are_read(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(blocks("text")[0])
    control_room, press_line = read_tokens(tmp_path / "tokens")
    assert (control_room.name, control_room.models, control_room.rate) == ("control-room", None, None)
    assert (press_line.name, press_line.models, press_line.rate) == ("press-line", frozenset({"fan", "pump"}), 50.0)


def test_the_command_for_a_token_adds_one(folder: Path) -> None:
    (token,) = read_tokens(folder / "tokens")
    assert (token.name, token.models, token.rate) == ("press-line", frozenset({"fan", "pump"}), 50.0)
    assert re.search(r'"Bearer [0-9a-f]{64}"', (folder / "tokens").read_text())
    assert (folder / "tokens").stat().st_mode & 0o777 == 0o600


def test_the_certificates_are_taken_and_that_of_the_client_is_of_its_root(folder: Path, tmp_path: Path) -> None:
    server = certificate_files(tmp_path, trustme.CA())
    Certificates(TlsFiles(server.certificate, server.key, folder / "clients-ca.crt"), Metrics())
    Certificates(TlsFiles(folder / "press-line.crt", folder / "press-line.key"), Metrics())
    check = ["openssl", "verify", "-CAfile", "clients-ca.crt", "-purpose", "sslclient", "press-line.crt"]
    subprocess.run(check, cwd=folder, check=True, capture_output=True)

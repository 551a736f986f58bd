"""load_cli.py: the file of --triton-headers is read as gRPC can send it, and what is wrong in it is named, and not shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.versioned_model import write_version

from avizor_inference.cli import models as command
from avizor_inference.errors import EngineError, ExportError, SettingsError


def load(tmp_path: Path, headers: Path) -> BaseException | None:
    """Load through a Triton that nobody runs."""
    write_version(tmp_path / "models", "v", 1)
    words = ["load", "v", "--models", str(tmp_path / "models"), "--engine", "triton://127.0.0.1:1", "--triton-headers"]
    return CliRunner().invoke(command, [*words, str(headers)]).exception


@pytest.mark.parametrize(
    "line",
    [
        b"secret",
        b"secret: \xff",
        b"secret: \xc3\xa9",
        b"secret-bin: x",
        b"the secret: x",
        b"secret:",
        b": secret",
        b"a: s\0ecret",
    ],
)
def test_a_line_that_is_no_header_is_named_by_its_number(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "headers").write_bytes(b"a: 1\r\n\n" + line + b"\n")
    error = load(tmp_path, tmp_path / "headers")
    assert isinstance(error, SettingsError)
    assert str(error).startswith(f"{tmp_path}/headers: line 3 is not `NAME: VALUE`, ")
    assert "secret" not in str(error)


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    error = load(tmp_path, Path("/dev/zero"))
    assert isinstance(error, SettingsError)
    assert "/dev/zero has more than 64 KiB" in str(error)


def test_names_may_have_capital_letters(tmp_path: Path) -> None:
    (tmp_path / "headers").write_text("Authorization: Bearer x\n")
    error = load(tmp_path, tmp_path / "headers")
    assert isinstance(error, EngineError | ExportError)
    assert "connect" in str(error)

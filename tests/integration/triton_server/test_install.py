"""Triton is installed once, completely, and with a Python that can run it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from triton_server import install as install_module
from triton_server.install import TritonInstall, TritonUnavailable, install


def test_installing_again_changes_nothing(triton_install: TritonInstall) -> None:
    marker = triton_install.root / "installed.json"
    before = marker.stat().st_mtime_ns
    assert install(triton_install.root.parent) == triton_install
    assert marker.stat().st_mtime_ns == before


def pretend_to_build(monkeypatch: pytest.MonkeyPatch) -> list[TritonInstall]:
    """Replace the minute-long part of installing; returns the list of what was built."""
    built: list[TritonInstall] = []

    def build(target: TritonInstall, python: Path | None) -> None:
        built.append(target)
        time.sleep(0.2)  # long enough for another to arrive
        for path in (target.python, target.root / "lib" / install_module.LIBPYTHON, target.tritonserver):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (target.root / "installed.json").touch()

    monkeypatch.setattr(install_module, "_build", build)
    return built


def test_two_at_once_install_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = pretend_to_build(monkeypatch)
    with ThreadPoolExecutor(4) as pool:  # each opens the lock file itself, so to the lock they are like processes
        found = list(pool.map(lambda _: install(tmp_path), range(4)))
    assert len(built) == 1
    assert found == built * 4


@pytest.mark.parametrize("missing", ["installed.json", "venv/bin/python", f"lib/{install_module.LIBPYTHON}"])
def test_half_an_installation_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    built = pretend_to_build(monkeypatch)
    (install(tmp_path).root / missing).unlink()
    install(tmp_path)
    assert len(built) == 2


def test_an_interpreter_that_does_not_serve_is_an_error_that_tells_what_does(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text('#!/bin/sh\necho \'{"implementation": "CPython", "version": "3.9"}\'\n')
    other.chmod(0o755)
    for python, words in ((other, "is CPython 3.9"), (tmp_path / "nowhere", "does not run")):
        with pytest.raises(TritonUnavailable, match=words) as caught:
            install(tmp_path / "cache", python=python)
        assert "apt-get install python3.11-venv libpython3.11" in str(caught.value)
    assert not list((tmp_path / "cache").glob("*/*")), "nothing was left behind"


def test_a_failing_step_tells_what_it_printed(triton_install: TritonInstall, tmp_path: Path) -> None:
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
    }
    env = {**os.environ, **nowhere, "PIP_CONFIG_FILE": os.devnull}
    command: list[str | Path] = [
        triton_install.python,
        "-m",
        "pip",
        "download",
        "--dest",
        tmp_path,
        "nvidia-pytriton==0.7.0",
    ]
    with pytest.raises(TritonUnavailable, match=r"(?s)pip download failed.*package index.*No matching distribution"):
        install_module._run(command, "pip download", env)

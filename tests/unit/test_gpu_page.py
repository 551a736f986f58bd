"""The page of `make test-gpu` says what passed, what failed, and what was not run and why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.environment import ROOT

SUITE = """
import pytest

@pytest.fixture(params=["embedded", "triton"])
def engine(request):
    return request.param

def test_that_holds(engine, record_property):
    if engine == "triton":
        record_property("rows in a run", "15.9")

@pytest.mark.parametrize("number", [1, 2])
def test_that_holds_for_one(engine, number):
    assert (engine, number) != ("embedded", 2), "it is | 2"

def test_of_no_engine():
    assert False
"""
RUN = """
import sys, pytest
from pathlib import Path
from support.gpu_page import GpuPage, Machine
machine = Machine(gpu=sys.argv[1], docker=sys.argv[2] == "True", image="triton:1")
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "test_engine.py"], plugins=[GpuPage(machine, Path("gpu.md"))]))
"""


def run(folder: Path, gpu: str, docker: bool) -> tuple[int, str, list[str]]:
    (folder / "test_engine.py").write_text(SUITE)
    done = subprocess.run(
        [sys.executable, "-c", RUN, gpu, str(docker)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT / "tests"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, (folder / "gpu.md").read_text().splitlines()


def test_without_a_gpu_every_row_says_so_and_the_run_fails(tmp_path: Path) -> None:
    code, printed, page = run(tmp_path, "", True)
    assert code == 1
    assert "nothing was run: no GPU" in printed
    assert "| GPU, driver, memory | no GPU was to be had |" in page
    assert "| that holds | not run: no GPU | not run: no GPU |" in page
    assert "| that holds for one | not run: no GPU | not run: no GPU |" in page
    assert not any("of no engine" in line for line in page)


def test_with_a_gpu_each_row_says_what_passed_and_what_failed(tmp_path: Path) -> None:
    code, _, page = run(tmp_path, "NVIDIA Z, 600.1, 80 GiB", True)
    assert code == 1
    assert "| GPU, driver, memory | NVIDIA Z, 600.1, 80 GiB |" in page
    assert "| that holds | passed | passed |" in page
    assert "| that holds for one | 1 failed, 1 passed | 2 passed |" in page
    (failure,) = (line for line in page if line.startswith("* "))
    assert "`test_that_holds_for_one[embedded-2]`" in failure
    assert "it is | 2" in failure
    assert "| rows in a run | 15.9 |" in page


@pytest.mark.parametrize("gpu", ["", "NVIDIA Z"])
def test_without_docker_triton_is_not_run(tmp_path: Path, gpu: str) -> None:
    _, _, page = run(tmp_path, gpu, False)
    missing = "not run: no Docker" if gpu else "not run: no GPU"
    assert f"| that holds | {'passed' if gpu else missing} | {missing} |" in page
    assert "| Triton | triton:1, not started |" in page
    assert not any("rows in a run" in line for line in page)


def test_a_run_without_a_gpu_leaves_what_another_saw(tmp_path: Path) -> None:
    _, _, seen = run(tmp_path, "NVIDIA Z", True)
    code, _, page = run(tmp_path, "", True)
    assert (code, page) == (1, seen)

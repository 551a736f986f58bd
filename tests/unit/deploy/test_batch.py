"""What a user of the stack's batch job gets wrong is said in the words of the stack, before the job begins."""

from __future__ import annotations

import importlib.util
import os
import socket
from pathlib import Path
from types import ModuleType

import pytest
from support.environment import ROOT

STACK = ("--models=/models", "--engine=triton://127.0.0.1:9", "--out=/results")


@pytest.fixture
def batch(tmp_path: Path) -> ModuleType:
    """The program, with folders in which `july` is data."""
    spec = importlib.util.spec_from_file_location("batch", ROOT / "deploy" / "batch" / "batch.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(DATA=tmp_path / "data", RESULTS=tmp_path / "results")
    (tmp_path / "data" / "july").mkdir(parents=True)
    (tmp_path / "results").mkdir()
    return module


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((*STACK, "july", "june", "--model", "fan"), ["july", "june"]),
        (("--models", "/models", "july", "--model", "fan"), ["july"]),
        ((*STACK, "-", "--model", "fan"), ["-"]),
        ((*STACK, "--model", "fan", "july"), ["july"]),
        ((*STACK, "--model=fan"), []),
        ((), []),
    ],
)
def test_sources_are_told_from_options(given: tuple[str, ...], expected: list[str], batch: ModuleType) -> None:
    assert batch.sources(given) == expected


def test_the_last_value_of_an_option_counts_as_it_does_for_the_job(batch: ModuleType) -> None:
    assert batch.value((*STACK, "july"), "--engine") == "triton://127.0.0.1:9"
    assert batch.value((*STACK, "july", "--engine", "ort"), "--engine") == "ort"
    assert batch.value((*STACK, "july", "--engine"), "--engine") == ""


@pytest.mark.parametrize("source", ["july", "july/*.wav", "-"])
def test_what_is_in_the_data_is_no_problem(source: str, batch: ModuleType) -> None:
    assert batch.data_problem((*STACK, source, "--model", "fan")) == ""


def test_a_source_that_is_not_there_is_said_without_what_a_terminal_obeys(batch: ModuleType) -> None:
    Path(os.fsdecode(os.fsencode(batch.DATA) + b"/caf\xe9\x1b[2J")).mkdir()
    problem = batch.data_problem((*STACK, "/home/ann/no\x1b[31m\n", "--model", "fan"))
    assert problem.startswith(r"/home/ann/no\x1b[31m\n: no such file or folder in the data.")
    assert problem.endswith(r"which holds caf\udce9\x1b[2J, july")
    assert "reach no store" in batch.data_problem((*STACK, "s3://bucket/july", "--model", "fan"))


def test_data_and_results_that_are_not_mounted_are_said(batch: ModuleType) -> None:
    vars(batch).update(DATA=Path("/dev/null"), RESULTS=Path("/dev/null"))
    assert "no data are here" in batch.data_problem(STACK)
    assert "no folder for results is here" in batch.results_problem(STACK)


def test_results_outside_of_the_mount_would_be_lost(batch: ModuleType) -> None:
    inside = f"--out={batch.RESULTS}"
    assert batch.results_problem((inside, "july")) == ""
    assert batch.results_problem((inside, "july", "--out", f"{batch.RESULTS}/july")) == ""
    for out in ("here", "../results-2", f"{batch.RESULTS}/../data"):
        assert "would be lost" in batch.results_problem((inside, "july", "--out", out))


def test_a_triton_that_does_not_answer_is_said_and_one_that_is_not_used_is_not_asked(batch: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        engine = f"--engine=triton://127.0.0.1:{server.getsockname()[1]}"
        assert batch.triton_problem((engine,)) == ""
    assert "`make up` starts it" in batch.triton_problem((engine,))
    assert batch.triton_problem((engine, "july", "--engine", "ort")) == ""

"""runners/: files that kill the process that reads them, or hang it, in real worker processes. See support/hostile_files."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures.thread import BrokenThreadPool
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from support.environment import ROOT
from support.sounds import tone, write_long_wav, write_wav

from avizor_inference.errors import GpuFull
from avizor_pipeline.job import run_job
from avizor_pipeline.plan import plan_job
from avizor_pipeline.request import JobRequest
from avizor_pipeline.runners.local import LocalRunner
from avizor_pipeline.verify import verify_job

GOOD = 5


@pytest.fixture(autouse=True)
def hostile_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers find what makes files hostile."""
    hostile = str(ROOT / "tests" / "support" / "hostile_files")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [hostile, os.environ.get("PYTHONPATH")])))


def job(models: Path, folder: Path, bad: dict[str, bytes], file_timeout_s: float = 60.0) -> dict[str, list[dict[str, Any]]]:
    """Run a job over five good recordings and the bad files; return its tables, names of files instead of uris."""
    for number in range(GOOD):
        write_wav(folder / "data" / f"{number}.wav", tone(1.0, seed=number))
    for name, content in bad.items():
        (folder / "data" / name).write_bytes(content)
    settings = JobRequest((str(folder / "data"),), ("kinds",), models).to_settings()
    commits = list(run_job(settings, folder / "out", plan_job(settings, folder / "out"), LocalRunner(1, file_timeout_s)))
    assert sum(commit.files for commit in commits) == GOOD + len(bad)
    assert sum(commit.dead_letters for commit in commits) == len(bad)
    assert multiprocessing.active_children() == []
    tables = {name: ds.dataset(folder / "out" / name).to_table().to_pylist() for name in ("windows", "recordings")}
    tables["dead_letters"] = ds.dataset(folder / "out" / "dead_letters").to_table().to_pylist()
    for row in (row for rows in tables.values() for row in rows):
        row["uri"] = Path(row["uri"]).name
    return tables


@pytest.fixture(scope="module")
def quiet(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Tables of a job in which the bad files are only unreadable."""
    return job(models, tmp_path_factory.mktemp("quiet"), {"1-bad.wav": b"no sound"})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"KILL", "the process that read it was ended by SIGKILL, also with this file alone"),
        (b"MEMORY", "the process that read it was ended by its lack of memory, also with this file alone"),
        (b"HANG", "its decoder gave nothing for 1 s (--file-timeout-s) and was ended"),
    ],
)
def test_a_file_that_ends_or_hangs_its_worker_costs_itself_and_nothing_else(
    models: Path, quiet: dict[str, list[dict[str, Any]]], tmp_path: Path, content: bytes, says: str
) -> None:
    tables = job(models, tmp_path, {"1-bad.wav": content}, file_timeout_s=1.0)
    assert tables["windows"] == quiet["windows"]
    assert tables["recordings"] == quiet["recordings"]
    (letter,) = tables["dead_letters"]
    assert (letter["uri"], letter["error_class"]) == ("1-bad.wav", "DecoderEnded")
    assert letter["message"].startswith(f"1-bad.wav: {says}")


def test_a_full_gpu_ends_the_job_and_costs_no_file(models: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "data" / "0.wav", tone(1.0, seed=0))
    (tmp_path / "data" / "1.wav").write_bytes(b"GPUFULL")
    settings, out = JobRequest((str(tmp_path / "data"),), ("kinds",), models).to_settings(), tmp_path / "out"
    with pytest.raises(GpuFull, match=r"no memory left for a run of 32 rows of model 'kinds' .*; stop other programs on it"):
        list(run_job(settings, out, plan_job(settings, out), LocalRunner(1)))
    assert list(out.rglob("dead_letters/*")) == []
    assert multiprocessing.active_children() == []


def test_an_error_that_cannot_be_sent_ends_the_job_in_its_own_words_with_its_traceback(models: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "data" / "0.wav", tone(1.0, seed=0))
    (tmp_path / "data" / "1.wav").write_bytes(b"LOCAL")
    settings, out = JobRequest((str(tmp_path / "data"),), ("kinds",), models).to_settings(), tmp_path / "out"
    with pytest.raises(RuntimeError, match=r"^Local: it is of no module$") as ended:
        list(run_job(settings, out, plan_job(settings, out), LocalRunner(1)))
    assert "_raise_local" in str(ended.value.__cause__)
    assert multiprocessing.active_children() == []


def test_an_error_that_the_job_cannot_read_ends_it(models: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "data" / "0.wav", tone(1.0, seed=0))
    (tmp_path / "data" / "1.wav").write_bytes(b"FOREIGN")
    settings, out = JobRequest((str(tmp_path / "data"),), ("kinds",), models).to_settings(), tmp_path / "out"
    with pytest.raises((ImportError, AttributeError), match="sitecustomize"):
        list(run_job(settings, out, plan_job(settings, out), LocalRunner(1)))
    assert multiprocessing.active_children() == []


def test_a_pool_of_threads_that_breaks_in_a_library_is_no_death_of_the_worker(models: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0.wav").write_bytes(b"BROKEN")
    write_wav(tmp_path / "data" / "1.wav", tone(1.0, seed=0))
    settings, out = JobRequest((str(tmp_path / "data"),), ("kinds",), models).to_settings(), tmp_path / "out"
    with pytest.raises(BrokenThreadPool, match="a thread of the library could not begin"):
        list(run_job(settings, out, plan_job(settings, out), LocalRunner(1)))
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_several_such_files_in_one_shard_are_all_found(
    models: Path, quiet: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    bad = {"1-bad.wav": b"ABORT", "2-bad.wav": b"FAULT", "9-bad.wav": b"KILL"}
    tables = job(models, tmp_path, bad)
    assert tables["windows"] == quiet["windows"]
    letters = {row["uri"]: row["message"] for row in tables["dead_letters"]}
    assert letters.keys() == bad.keys()
    assert "ended by SIGABRT" in letters["1-bad.wav"]
    assert letters["2-bad.wav"].startswith("2-bad.wav: its decoder failed (ZeroDivisionError")


@pytest.mark.kill
@pytest.mark.parametrize(
    ("name", "says"), [("KILL-1", "ended by SIGKILL, also with this file alone"), ("HANG-0", "gave nothing for 1 s")]
)
def test_a_section_of_a_long_file_that_ends_or_hangs_its_worker_costs_the_file_alone(
    models: Path, tmp_path: Path, name: str, says: str
) -> None:
    write_long_wav(tmp_path / "data" / f"{name}.wav", seconds=50)
    long = write_long_wav(tmp_path / "data" / "long.wav", seconds=50)
    settings = JobRequest((str(tmp_path / "data"),), ("kinds",), models, shard_mib=1).to_settings()
    out = tmp_path / "out"
    commits = list(run_job(settings, out, plan_job(settings, out), LocalRunner(2, 1.0)))
    assert sorted((commit.files, commit.dead_letters) for commit in commits) == [(1, 0), (1, 1)]
    (letter,) = ds.dataset(out / "dead_letters").to_table().to_pylist()
    assert letter["message"].startswith(f"{name}.wav: ")
    assert says in letter["message"]
    assert set(ds.dataset(out / "windows").to_table()["uri"].to_pylist()) == {str(long)}
    assert verify_job(out).problem_count == 0

"""A listing streams: what a plan of a million files needs in memory, in a first run and in one that knows them all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# Plans two runs of a job and begins each; prints for each the files, the new ones, and the peak of resident memory in MiB.
# (getrusage would tell that of the process that began it, if it was larger.)
PLAN = """
import json, sys
from pathlib import Path
import avizor_pipeline.cli  # as the command begins
from avizor_inference.job_results import ROWS_FORMAT
from avizor_pipeline.plan import plan_job
from avizor_pipeline.process_memory import memory_use
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_folder import claimed

data, out = sys.argv[1], Path(sys.argv[2])
job = JobSettings(rows_format=ROWS_FORMAT, roots=(data,), repository="models", models=())
plan = plan_job(job, out)
with claimed(out, job, plan.for_folder):
    print(json.dumps([plan.files, plan.changes.new, memory_use().peak / 2**20]))
"""


def peaks(data: Path, out: Path, count: int) -> list[float]:
    """Plan two runs, each in its process, and return the peaks in MiB. The second knows all files from the first."""
    result = []
    for new in (count, 0):
        done = subprocess.run([sys.executable, "-c", PLAN, str(data), str(out)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        files, found, peak = json.loads(done.stdout)
        assert (files, found) == (count, new)
        result.append(peak)
    return result


def list_of(path: Path, count: int) -> Path:
    with path.open("w") as file:
        file.writelines(f"/data/recordings/{number // 1000:04d}/recording-{number:07d}.wav\n" for number in range(count))
    return path


def folder_of(path: Path, count: int) -> Path:
    """Make empty files, all in one folder."""
    path.mkdir()
    folder = os.open(path, os.O_RDONLY)
    for number in range(count):
        os.close(os.open(f"recording-{number:07d}.wav", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    return path


@pytest.mark.parametrize(("made", "most"), [(list_of, 120), (folder_of, 220)])  # bytes of a file; a Path takes over 300
def test_the_memory_of_a_plan_is_a_few_bytes_a_file(made: Callable[[Path, int], Path], most: int, tmp_path: Path) -> None:
    few, many = 10_000, 1_000_000
    small = peaks(made(tmp_path / "few.txt", few), tmp_path / "out-few", few)
    data = made(tmp_path / "many.txt", many)
    try:
        large = peaks(data, tmp_path / "out-many", many)
    finally:
        if data.is_dir():
            shutil.rmtree(data)  # pytest would keep them
    each = [(after - before) * 2**20 / (many - few) for before, after in zip(small, large, strict=True)]
    print("\nbytes a file, in a first run and in one that knows all:", [round(size) for size in each], small, large)
    assert max(each) < most


def test_a_plan_of_some_thousand_files_needs_no_more_than_one_of_a_hundred(tmp_path: Path) -> None:
    """Between these two lies no growth by the file, but only what is worked off at once."""
    few, many = (peaks(folder_of(tmp_path / f"{count}", count), tmp_path / f"out-{count}", count) for count in (130, 13_000))
    more = [after - before for before, after in zip(few, many, strict=True)]
    print(
        "\nMiB more for 13,000 files than for 130, in a first run and in one that knows all:", [round(each, 1) for each in more]
    )
    assert max(more) < 15  # it was 33

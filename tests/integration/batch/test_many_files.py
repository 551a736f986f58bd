"""A listing streams: what a plan of 200,000 files needs in memory, in a first run and in one that knows them all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# Plans two runs of a job and begins each; prints for each the files, the new ones, and the peak of resident memory in MiB.
PLAN = """
import json, resource, sys
from pathlib import Path
from avizor_pipeline.plan import plan_job
from avizor_pipeline.settings import ROWS_FORMAT, JobSettings
from avizor_pipeline.sinks.output_folder import claimed

data, out = sys.argv[1], Path(sys.argv[2])
job = JobSettings(rows_format=ROWS_FORMAT, roots=(data,), repository="models", models=())
plan = plan_job(job, out)
with claimed(out, job, plan.for_folder):
    print(json.dumps([plan.files, plan.changes.new, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def test_the_memory_of_a_plan_is_a_few_bytes_a_file(tmp_path: Path) -> None:
    peaks = {}
    for count in (2_000, 200_000):
        data, out = tmp_path / str(count), tmp_path / f"out{count}"
        for number in range(count):
            folder = data / f"{number // 1000:03d}"
            if number % 1000 == 0:
                folder.mkdir(parents=True)
            (folder / f"{number:06d}.wav").touch()
        for new in (count, 0):  # the second process knows all of them from the first round
            result = subprocess.run(
                [sys.executable, "-c", PLAN, str(data), str(out)], capture_output=True, text=True, check=False
            )
            assert result.returncode == 0, result.stderr
            files, found, peaks[count, new] = json.loads(result.stdout)
            assert (files, found) == (count, new)
    print("\nMiB:", {f"{count} files, {new} new": round(peak, 1) for (count, new), peak in peaks.items()})
    for first, second in (((2_000, 2_000), (200_000, 200_000)), ((2_000, 0), (200_000, 0))):
        assert peaks[second] - peaks[first] < 60  # names alone would take more than 20 MiB, entries 100

"""A job runs from Python with the public names of `avizor_pipeline` only."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from support.sounds import SAMPLE_RATE, tone, write_wav

from avizor_pipeline import TABLES, JobRequest, LocalRunner, Outcome, plan_job, run_job


def test_a_job_runs_from_python_and_is_resumed(models: Path, tmp_path: Path) -> None:
    for seed in range(3):
        write_wav(tmp_path / "data" / "a" / f"{seed}.wav", tone(3 * 4096 / SAMPLE_RATE, seed=seed))
    (tmp_path / "data" / "a" / "broken.wav").write_text("no sound")
    settings = JobRequest((str(tmp_path / "data"),), ("kinds", "normal"), models, alpha=0.05).to_settings()
    for _ in range(2):
        plan = plan_job(settings, tmp_path / "out")
        assert plan.files == 4
        outcome = Outcome(plan.left_out)
        for commit in run_job(settings, tmp_path / "out", plan, LocalRunner(workers=1)):
            outcome.add(commit)
        assert (outcome.files, outcome.windows, outcome.dead_letters) == (4, 18, 1)
    (part,) = (tmp_path / "out" / "recordings").iterdir()
    table = pq.read_table(part)
    assert table.schema.equals(TABLES["recordings"])
    assert table.column("model").to_pylist() == ["kinds"] * 3 + ["normal"] * 3

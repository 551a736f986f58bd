"""A job over files that hold many items: each item has its own rows, source and dead letter."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.tables import TRANSFER

from avizor_inference.engines.base import InferRequest
from avizor_inference.items.kinds.table import encode_row
from avizor_pipeline.job_context import open_context
from avizor_pipeline.job_outcome import Outcome
from avizor_pipeline.models import open_job_engine
from avizor_pipeline.plan import plan_job
from avizor_pipeline.request import JobRequest
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.shard_run import ShardRun
from avizor_pipeline.sharding import shards


def run(settings: JobSettings, out: Path) -> tuple[Outcome, dict[str, list[dict[str, Any]]]]:
    """Run all shards of a job in this process; return what it came to and its tables, by uri."""
    out.mkdir()
    context, outcome = open_context(settings, out), Outcome()
    for shard in shards(settings, context.source.list()):
        outcome.add(ShardRun(context, shard).run())
    assert outcome.files == plan_job(settings).files
    return outcome, {
        path.name: pq.read_table(path).sort_by("uri").to_pylist() for path in out.iterdir() if path.name != "commits"
    }


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [Path(row["uri"]).name for row in rows]


@pytest.fixture
def transfers_file(tmp_path: Path) -> Path:
    """A table of five rows of two banks, two of which are wrong."""
    path = tmp_path / "rows.csv"
    path.write_text("bank,amount,hour,country\na,12,3,ES\nb,13\na,,5,IT\nb,x,4,FR\na,1,1,Mars\n")
    return path


def test_each_row_of_a_table_is_an_item(transfers_file: Path, models: Path, tmp_path: Path) -> None:
    request = JobRequest((str(transfers_file),), ("transfers",), models, alpha=0.05, source_column="bank")
    outcome, tables = run(settings := request.to_settings(), tmp_path / "out")
    assert (outcome.files, outcome.windows, outcome.dead_letters) == (5, 3, 2)
    assert names(tables["recordings"]) == ["rows.csv#0", "rows.csv#2", "rows.csv#4"]
    assert [row["source"] for row in tables["windows"]] == ["a"] * 3
    assert [(row["uri"][-2:], row["source"]) for row in tables["dead_letters"]] == [("#1", "default"), ("#3", "b")]
    first = encode_row({"amount": 12.0, "hour": 3.0, "country": "ES"}, TRANSFER)
    with open_job_engine(settings) as engine:
        score = engine.infer(InferRequest("transfers", {"record": first[None]}, ["score"]))["score"][0, 0]
    assert tables["recordings"][0]["score"] == pytest.approx(float(score), rel=1e-5)


def test_a_plan_counts_the_rows(transfers_file: Path, models: Path) -> None:
    plan = plan_job(JobRequest((str(transfers_file),), ("transfers",), models, alpha=0.05).to_settings())
    assert (plan.files, plan.packed, plan.sources, plan.kinds) == (5, 1, Counter(default=5), Counter(row=5))
    plan = plan_job(JobRequest((str(transfers_file),), ("transfers",), models, alpha=0.05, limit=2).to_settings())
    assert plan.files == 2


def test_a_table_that_went_away_is_a_dead_letter_for_each_row(transfers_file: Path, models: Path, tmp_path: Path) -> None:
    settings = JobRequest((str(transfers_file),), ("transfers",), models, alpha=0.05).to_settings()
    (tmp_path / "out").mkdir()
    context = open_context(settings, tmp_path / "out")
    (shard,) = shards(settings, context.source.list())
    transfers_file.unlink()
    commit = ShardRun(context, shard).run()
    assert (commit.files, commit.dead_letters, commit.windows) == (5, 5, 0)
    rows = pq.read_table(tmp_path / "out" / "dead_letters").to_pylist()
    assert names(rows) == [f"rows.csv#{number}" for number in range(5)]

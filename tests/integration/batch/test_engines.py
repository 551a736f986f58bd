"""A batch job gives the same rows on every engine and device."""

from __future__ import annotations

from pathlib import Path

import pytest
from integration.jobs import batch, query
from support.environment import device


@pytest.fixture(params=["embedded", "openvino", "triton"])
def engine(request: pytest.FixtureRequest) -> tuple[str, str]:
    if request.param == "embedded":
        return "--device", device()
    if request.param == "openvino":
        return "--engine", "openvino"
    return "--engine", f"triton://{request.getfixturevalue('triton_address')}"


def test_a_job_gives_the_rows_of_the_embedded_engine_on_the_cpu(
    data: Path, models: Path, engine: tuple[str, str], tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert batch(data, models, here, "--device", "cpu").returncode == 0
    result = batch(data, models, there, *engine, "--batch-size", "2")
    assert result.returncode == 0, result.stderr
    key = "uri, channel, start_sample, model"
    joined = query(
        f"select count(*), max(abs(a.score - b.score) / a.score), max(abs(a.probability - b.probability)),"
        f" count(*) filter (a.is_anomaly is distinct from b.is_anomaly) from '{here}/windows/*.parquet' a"
        f" join '{there}/windows/*.parquet' b using ({key})"
    )
    ((rows, score, probability, different),) = joined
    assert rows == query(f"select count(*) from '{here}/windows/*.parquet'")[0][0]
    assert rows == query(f"select count(*) from '{there}/windows/*.parquet'")[0][0]
    assert (score < 1e-4, probability < 1e-4, different) == (True, True, 0)

"""derived/q_values.py against scipy's Benjamini and Hochberg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from avizor_pipeline.derived.q_values import q_values, write_q_values
from avizor_pipeline.sinks.part_files import PartWriter


def conformal(number: int, calibration: int, seed: int) -> NDArray[np.float64]:
    """P-values as a calibration gives them: many are equal."""
    values: NDArray[np.float64] = np.random.default_rng(seed).integers(1, calibration + 2, number) / (calibration + 1)
    return values


@pytest.mark.parametrize(("number", "calibration"), [(1, 19), (50, 19), (3000, 99), (500, 10**6)])
def test_q_values_are_those_of_benjamini_and_hochberg(number: int, calibration: int) -> None:
    p_values = conformal(number, calibration, number)
    distinct, places, counts = np.unique(p_values, return_inverse=True, return_counts=True)
    np.testing.assert_allclose(q_values(distinct, counts)[places], false_discovery_control(p_values), rtol=1e-12)


def test_each_model_of_a_job_has_its_q_values_over_all_shards(tmp_path: Path) -> None:
    expected = {"x": conformal(90, 19, 1), "y": conformal(60, 99, 2)}
    for shard in range(3):
        writer = PartWriter(tmp_path, f"{shard:016x}")
        for model, p_values in expected.items():
            for number, p_value in enumerate(p_values[shard::3]):
                row = {"uri": f"{shard + 3 * number}.wav", "source": "a", "model": model, "p_value": p_value}
                writer.add("recordings", row)
        writer.add("recordings", {"uri": "none.wav", "source": "a", "model": "classes", "label": "cat"})
        writer.finish()
        writer.publish()
    write_q_values(tmp_path)
    rows = pq.read_table(tmp_path / "q_values.parquet").to_pylist()
    assert len(rows) == 150
    found = {(row["model"], row["uri"]): row["q_value"] for row in rows}
    for model, p_values in expected.items():
        for number, q_value in enumerate(false_discovery_control(p_values)):
            assert found[model, f"{number}.wav"] == pytest.approx(q_value, rel=1e-12)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_a_job_without_p_values_has_an_empty_file(tmp_path: Path) -> None:
    write_q_values(tmp_path)
    assert pq.read_table(tmp_path / "q_values.parquet").num_rows == 0

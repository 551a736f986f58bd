"""A batch job gives the same rows on every engine and device."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tritonclient.grpc
from integration.jobs import AVIZOR, batch, one_sentence, query
from integration.watching import free_port
from support.environment import device
from support.other_probe import expect_other_answers
from support.warm_starts import warm_run

MODELS = ("kinds", "normal")
FULL = 16  # max_batch_size of both


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


def test_a_classifier_that_is_not_computed_as_at_export_is_refused_before_the_job(
    data: Path, models: Path, tmp_path: Path
) -> None:
    """It has no calibration whose scores would be compared."""
    shutil.copytree(models, tmp_path / "models")
    expect_other_answers(tmp_path / "models", "kinds")
    result = batch(data, tmp_path / "models", tmp_path / "out")
    assert result.returncode != 0
    assert "'kinds' version 1 is not computed as at export: output " in result.stderr
    assert not (tmp_path / "out" / "windows").exists()


@pytest.mark.parametrize("command", [("batch", "--model", "normal", "--out", "out"), ("calibrate", "normal", "--data")])
def test_a_triton_that_is_not_there_is_told_with_what_to_do(
    data: Path, models: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    engine = f"triton://127.0.0.1:{free_port()}"
    result = warm_run([str(AVIZOR), *command, str(data), "--models", str(models), "--engine", engine], cwd=tmp_path)
    assert result.returncode == 1
    assert "is away, or has not loaded model 'normal'" in result.stderr
    assert result.stderr.endswith("; start it, or correct --engine, and run the same command again\n")
    assert one_sentence(result.stderr)


def test_a_triton_that_lacks_a_version_is_told_with_what_to_do(
    data: Path, models: Path, triton_address: str, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(models, tmp_path / "models"))
    newer = shutil.copytree(own / "kinds" / "1", own / "kinds" / "2")
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps(manifest | {"version": 2}))
    engine = f"triton://{triton_address}"
    result = batch(data, own, tmp_path / "out", "--engine", engine)
    assert result.returncode == 1
    advice = f"load it there (`avizor models load NAME --engine {engine}`), and run the same command again"
    assert advice in result.stderr
    assert one_sentence(result.stderr)


def test_a_job_keeps_tritons_batches_full(
    many_recordings: Path,
    models: Path,
    triton_address: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Rows of a run, as Triton counts them. A batch is filled with the windows of many files."""
    before = counted(triton_address)
    result = batch(many_recordings, models, tmp_path / "out", "--engine", f"triton://{triton_address}")
    assert result.returncode == 0, result.stderr
    for model, (rows, runs) in counted(triton_address).items():
        rows, runs = rows - before[model][0], runs - before[model][1]
        record_property(f"rows in a run of {model} by Triton, of {FULL} at most", f"{rows / runs:.1f}")
        assert rows >= 400 * 6
        assert rows / runs >= 0.9 * FULL


def counted(address: str) -> dict[str, tuple[int, int]]:
    """Of each model, how many rows Triton has computed, and in how many runs."""
    with tritonclient.grpc.InferenceServerClient(address) as client:
        found = {model: client.get_inference_statistics(model).model_stats[0] for model in MODELS}
    return {model: (int(each.inference_count), int(each.execution_count)) for model, each in found.items()}

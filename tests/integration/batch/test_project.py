"""`avizor project`, `neighbours` and `verify` on the results of real jobs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from integration.jobs import AVIZOR
from PIL import Image
from support.warm_starts import warm_run

from avizor_pipeline.cli.neighbours import neighbours
from avizor_pipeline.cli.project import project_command
from avizor_pipeline.cli.verify import verify


def _pictures(folder: Path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{seed}-{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((rng.integers(0, 100, (32, 32)) + 150 * (number % 2)).astype(np.uint8)).save(path)


def _job(folder: Path, models: Path, *more: str) -> None:
    command = [*map(str, (AVIZOR, "batch", "pictures", "--models", models, "--model", "digits", "--out", "out")), *more]
    warm_run([*command, "--workers", "1"], cwd=folder).check_returncode()


def _run(folder: Path, command: object, *arguments: object) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(command, list(map(str, arguments)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def done(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    _pictures(folder / "pictures", 24, 0)
    _job(folder, models, "--embeddings")
    return folder


@pytest.fixture
def job(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path / "job")
    return tmp_path / "job"


def test_a_map_of_a_real_job_is_written_drawn_and_verified(job: Path) -> None:
    result = _run(job, project_command, "out", "--method", "pca", "--label", "source", "--color", "source", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["trust"]["knn_accuracy"]["before"] == 1.0, "dark and bright pictures are told apart"
    table = pq.read_table(job / "out" / report["table"])
    assert table.num_rows == 24
    assert table["channel"].null_count == 24
    assert (job / "out/projection/digits-pca-source.png").is_file()
    assert _run(job, verify, "out").exit_code == 0


def test_verify_knows_a_map_that_is_not_of_the_rows(job: Path) -> None:
    assert _run(job, project_command, "out", "--method", "pca", "--no-pictures").exit_code == 0
    path = job / "out/projection/digits-pca.parquet"
    table = pq.read_table(path)
    for wrong in (
        pa.concat_tables([table, table.slice(0, 1)]),
        table.set_column(0, "uri", pa.array(["gone.png", *table["uri"].to_pylist()[1:]])),
        table.take(pa.array(range(23, -1, -1))),
        table.drop_columns(["x"]),
    ):
        pq.write_table(wrong, path)
        result = _run(job, verify, "out")
        assert result.exit_code == 1
        assert "digits-pca.parquet" in result.stderr
    path.write_bytes(b"torn")
    assert "cannot be read" in _run(job, verify, "out").stderr
    pq.write_table(table, path)
    assert _run(job, verify, "out").exit_code == 0


def test_the_most_similar_items_are_printed(job: Path) -> None:
    result = _run(job, neighbours, "out", "pictures/a/0-0.png", "-k", 5)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 7
    assert all("pictures/a/" in line for line in lines[2:]), "dark pictures are nearest to a dark one"
    assert _run(job, neighbours, "out", "pictures/a/0-0.png", "--window", 0, "--start", 1).exit_code == 2


# The last one: it changes the job that the others copy. A job belongs to the path of its dataset, so it cannot be a copy.
def test_a_job_that_grows_loses_its_map_and_takes_it_up_again(done: Path, models: Path) -> None:
    assert _run(done, project_command, "out", "--method", "pca", "--no-pictures").exit_code == 0
    before = pq.read_table(done / "out/projection/digits-pca.parquet")
    _pictures(done / "pictures", 6, 1)
    _job(done, models, "--embeddings")
    assert not (done / "out/projection").exists()
    result = _run(done, project_command, "out", "--method", "pca", "--place-in", "out", "--no-pictures", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["kept"] == 24
    after = {row["uri"]: (row["x"], row["y"]) for row in pq.read_table(done / "out/projection/digits-pca.parquet").to_pylist()}
    assert len(after) == 30
    for row in before.to_pylist():
        assert after[row["uri"]] == (row["x"], row["y"])
    assert _run(done, verify, "out").exit_code == 0

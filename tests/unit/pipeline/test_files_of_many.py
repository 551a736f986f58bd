"""A job over files that hold many items: each item has its own rows, source and dead letter."""

from __future__ import annotations

import gzip
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from support.packed import png, write_column, write_tar
from support.tables import TRANSFER, transfers

from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.engines.base import InferRequest
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.images import encode_png
from avizor_inference.items.input_spec import ImageInput, TensorInput
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
        outcome.add(ShardRun(context, shard).run()())
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
    commit = ShardRun(context, shard).run()()
    assert (commit.files, commit.dead_letters, commit.windows) == (5, 5, 0)
    rows = pq.read_table(tmp_path / "out" / "dead_letters").to_pylist()
    assert names(rows) == [f"rows.csv#{number}" for number in range(5)]


def by_name(rows: list[dict[str, Any]]) -> dict[str, tuple[str, float]]:
    """What a classifier said of each picture, by the number in its name."""
    uris = [row["uri"].removesuffix(".png").replace("#", "/") for row in rows]
    return {uri.rpartition("/")[2]: (row["label"], row["probability"]) for uri, row in zip(uris, rows, strict=True)}


def test_pictures_have_the_same_answers_as_files_in_tars_and_in_a_column(
    shared_data: Path, models: Path, tmp_path: Path
) -> None:
    with gzip.open(shared_data / "mnist10k" / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 150 * 784)[16:], np.uint8).reshape(-1, 28, 28)
    (tmp_path / "folder").mkdir()
    files = {f"{number}.png": encode_png(picture[..., None]) for number, picture in enumerate(pixels)}
    for name, data in files.items():
        (tmp_path / "folder" / name).write_bytes(data)
    places = [
        tmp_path / "folder",
        write_tar(tmp_path / "a.tar", files),
        write_tar(tmp_path / "a.tar.gz", files),
        write_column(tmp_path / "a.parquet", files, 40),
    ]
    answers = []
    for number, place in enumerate(places):
        settings = JobRequest((str(place),), ("digits",), models, bytes_column="image").to_settings()
        outcome, tables = run(settings, tmp_path / f"out{number}")
        assert (outcome.files, outcome.windows, outcome.dead_letters) == (150, 150, 0)
        answers.append(by_name(tables["recordings"]))
    for other in answers[1:]:
        assert other.keys() == answers[0].keys()
        for name, (label, probability) in other.items():  # a batch of other pictures may round otherwise
            assert label == answers[0][name][0]
            assert probability == pytest.approx(answers[0][name][1], rel=1e-5)


def test_a_bad_picture_in_a_cut_tar_costs_itself(models: Path, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a/0.png": png(0), "b/1.png": b"no picture", "a/2.png": png(2), "a/3.png": png(3)})
    with tarfile.open(path) as tar:
        end = tar.getmembers()[-1].offset_data + 300
    path.write_bytes(path.read_bytes()[:end])
    outcome, tables = run(JobRequest((str(path),), ("digits",), models).to_settings(), tmp_path / "out")
    assert (outcome.files, outcome.dead_letters) == (4, 2)
    assert [(row["uri"].rpartition("#")[2], row["source"]) for row in tables["recordings"]] == [
        ("a/0.png", "a"),
        ("a/2.png", "a"),
    ]
    assert names(tables["dead_letters"]) == ["a.tar", "1.png"]


def test_each_model_takes_the_arrays_of_its_tensor(models: Path, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 1), np.uint8)
    np.save(tmp_path / "pictures.npy", pictures)
    np.savez(tmp_path / "rows.npz", transfers(3))
    np.save(tmp_path / "others.npy", np.zeros((2, 4), np.float32))
    paths = [str(tmp_path / name) for name in ("pictures.npy", "rows.npz", "others.npy")]
    settings = JobRequest(tuple(paths), ("digits", "transfers"), models, alpha=0.05).to_settings()
    outcome, tables = run(settings, tmp_path / "out")
    assert (outcome.files, outcome.dead_letters) == (10, 2)
    assert Counter(row["model"] for row in tables["recordings"]) == {"digits": 5, "transfers": 3}
    (message,) = {row["message"].partition(": ")[2] for row in tables["dead_letters"]}
    assert message == "the item is float32[4]; digits takes uint8[32, 32, 1], transfers takes float32[3]"
    with open_job_engine(settings) as engine:
        probabilities = engine.infer(InferRequest("digits", {"image": pictures}, ["probabilities"]))["probabilities"]
    labels = [row["label"] for row in tables["recordings"] if row["model"] == "digits"]
    assert labels == [str(label) for label in probabilities.argmax(axis=1)]


def test_a_model_of_its_own_tensor_reads_the_arrays_of_a_folder(models: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    np.save(tmp_path / "data" / "a" / "1.npy", np.random.default_rng(0).random((4, 6), np.float32))
    export_model(
        torch.nn.Linear(6, 2),
        ExportRequest("tensors", "classify", TensorInput(item_shape=(6,)), labels=["no", "yes"]),
        tmp_path / "models",
    )
    outcome, tables = run(
        JobRequest((str(tmp_path / "data"),), ("tensors",), tmp_path / "models").to_settings(), tmp_path / "out"
    )
    assert (outcome.files, outcome.windows) == (4, 4)
    assert names(tables["recordings"]) == [f"1.npy#{number}" for number in range(4)]
    assert {row["source"] for row in tables["recordings"]} == {"a"}


def test_a_picture_through_an_autoencoder_is_judged_by_its_calibration(tmp_path: Path) -> None:
    """The scores of pictures in files are those of their pixels, and the odd one is flagged."""
    image = ImageInput(height=8, width=8, channels=1)
    rng = np.random.default_rng(0)
    usual = rng.integers(120, 136, (40, 8, 8, 1), np.uint8)
    normal = [NormalRecording("a", picture[None]) for picture in usual]
    mean = torch.nn.Linear(64, 64)
    torch.nn.init.zeros_(mean.weight)
    torch.nn.init.constant_(mean.bias, 0.5)
    network = torch.nn.Sequential(torch.nn.Flatten(), mean, torch.nn.Unflatten(1, (1, 8, 8)))
    export_model(network, ExportRequest("grey", "reconstruct", image, real_items=usual[:8], normal=normal), tmp_path / "models")
    folder = tmp_path / "data" / "a"
    folder.mkdir(parents=True)
    for number, picture in enumerate([usual[0], rng.integers(0, 256, (8, 8, 1), np.uint8)]):
        (folder / f"{number}.png").write_bytes(encode_png(picture))
    settings = JobRequest((str(tmp_path / "data"),), ("grey",), tmp_path / "models", alpha=0.05).to_settings()
    outcome, tables = run(settings, tmp_path / "out")
    usual_row, odd = tables["recordings"]
    assert usual_row["score"] == pytest.approx(float(((usual[0] / 255 - 0.5) ** 2).mean()), rel=1e-3)
    assert [(row["is_anomaly"], row["judged_by"], row["windows"]) for row in (usual_row, odd)] == [
        (False, "a", 1),
        (True, "a", 1),
    ]
    assert outcome.sources["grey"]["a"].anomalies == 1

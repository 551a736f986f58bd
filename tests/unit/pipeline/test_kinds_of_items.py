"""shard_run.py: a job whose models take different kinds of files: each takes what is of its kind."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image
from support.sounds import tone, write_wav

from avizor_inference.engines.base import InferRequest
from avizor_inference.items.decode import decode_item
from avizor_inference.items.kinds.image import ImageFile
from avizor_pipeline.job_context import open_context
from avizor_pipeline.models import open_job_engine
from avizor_pipeline.plan import plan_job
from avizor_pipeline.request import JobRequest
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.shard_run import ShardRun
from avizor_pipeline.sharding import shards
from avizor_pipeline.sinks.part_files import Commit


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three pictures of two sources, one of them broken, and a recording."""
    folder = tmp_path / "data"
    write_wav(folder / "a" / "1.wav", tone(1.0))
    for name in ("a/1.png", "b/2.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (28, 28), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "b" / "broken.png").write_bytes(b"no picture")
    return folder


def run(settings: JobSettings, out: Path) -> tuple[Commit, dict[str, list[dict[str, Any]]]]:
    """Run the one shard of a job; return its record and its tables."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    context = open_context(settings, out)
    (shard,) = shards(settings, context.source.list())
    commit = ShardRun(context, shard).run()()
    return commit, {path.parent.name: pq.read_table(path).to_pylist() for path in out.glob("*/*.parquet")}


def test_a_picture_is_one_row_without_a_span(data: Path, models: Path, tmp_path: Path) -> None:
    settings = JobRequest((str(data),), ("digits",), models).to_settings()
    commit, tables = run(settings, tmp_path / "out")
    assert (commit.files, commit.windows, commit.dead_letters) == (3, 2, 1)
    for row, item in zip(tables["windows"], tables["recordings"], strict=True):
        assert [row[name] for name in ("channel", "start_sample", "end_sample", "start_s", "end_s")] == [None] * 5
        assert (item["windows"], item["peak"], item["clipped"]) == (1, None, None)
        assert (item["uri"], item["source"], item["label"]) == (row["uri"], row["source"], row["label"])
        assert item["probability"] == pytest.approx(row["probability"])
    assert [(Path(row["uri"]).name, row["source"]) for row in tables["recordings"]] == [("1.png", "a"), ("2.png", "b")]
    assert [Path(row["uri"]).name for row in tables["dead_letters"]] == ["broken.png"]


def test_a_picture_gets_what_the_graph_says_of_it(data: Path, models: Path, tmp_path: Path) -> None:
    settings = JobRequest((str(data / "a" / "1.png"),), ("digits",), models).to_settings()
    _, tables = run(settings, tmp_path / "out")
    (model,) = open_context(settings, tmp_path / "out").models
    rows = decode_item(ImageFile(data / "a" / "1.png"), model.spec).rows
    with open_job_engine(settings) as engine:
        probabilities = engine.infer(InferRequest("digits", {"image": rows}, ["probabilities"]))["probabilities"][0]
    (row,) = tables["windows"]
    assert row["label"] == str(int(np.argmax(probabilities)))
    assert row["probability"] == pytest.approx(float(probabilities.max()), rel=1e-5)


def test_each_model_takes_what_is_of_its_kind(data: Path, models: Path, tmp_path: Path) -> None:
    settings = JobRequest((str(data),), ("digits", "normal"), models, alpha=0.05).to_settings()
    assert settings.contents == ("audio", "image")
    plan = plan_job(settings)
    assert (plan.files, dict(plan.kinds)) == (4, {"audio": 1, "image": 3})
    _, tables = run(settings, tmp_path / "out")
    assert {(row["model"], Path(row["uri"]).name) for row in tables["recordings"]} == {
        ("digits", "1.png"), ("digits", "2.png"), ("normal", "1.wav"),
    }  # fmt: skip
    assert len(tables["dead_letters"]) == 1


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac", "wav"])
def test_a_sound_that_was_cut_off_is_a_dead_letter_whatever_its_format(models: Path, tmp_path: Path, suffix: str) -> None:
    """And has no rows in any table, though its first windows were decoded."""
    data = tmp_path / "data"
    data.mkdir()
    soundfile.write(data / f"whole.{suffix}", np.random.default_rng(0).uniform(-0.5, 0.5, 24_000), 8000)
    encoded = (data / f"whole.{suffix}").read_bytes()
    (data / f"cut.{suffix}").write_bytes(encoded[: int(0.8 * len(encoded))])
    commit, tables = run(JobRequest((str(data),), ("normal",), models, alpha=0.05).to_settings(), tmp_path / "out")
    assert (commit.files, commit.dead_letters) == (2, 1)
    for table in ("windows", "recordings"):
        assert {Path(row["uri"]).name for row in tables[table]} == {f"whole.{suffix}"}
    (letter,) = tables["dead_letters"]
    assert Path(letter["uri"]).name == f"cut.{suffix}"
    assert re.search(r"cut off|ends after|ends within|decoding failed after|damaged", letter["message"]), letter["message"]

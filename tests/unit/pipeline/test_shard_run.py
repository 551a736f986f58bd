"""shard_run.py: one shard from real files to committed parts, with real models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.sounds import SAMPLE_RATE, tone, write_wav

from avizor_inference.engines.base import InferRequest
from avizor_inference.errors import JobError
from avizor_pipeline.job_context import JobContext, open_context
from avizor_pipeline.models import open_job_engine, open_models
from avizor_pipeline.request import JobRequest
from avizor_pipeline.settings import SHARD_FILES, SHARD_FILES_BEFORE
from avizor_pipeline.shard_run import ShardRun
from avizor_pipeline.sharding import Shard, shards
from avizor_pipeline.sinks.part_files import SourceCount, find_damage, part_path, read_commit


@pytest.fixture
def job(models: Path, tmp_path: Path) -> tuple[JobContext, Shard]:
    """A job of two models, whose one shard has two good files, of three windows and one, and a broken one between them."""
    write_wav(tmp_path / "data" / "a" / "1.wav", tone(1.5, seed=1))
    (tmp_path / "data" / "a" / "2.wav").write_bytes(b"no sound")
    write_wav(tmp_path / "data" / "b" / "3.wav", 3 * tone(0.1, seed=2))
    (tmp_path / "out").mkdir()
    settings = JobRequest((str(tmp_path / "data"),), ("kinds", "normal"), models, alpha=0.05, batch_size=2).to_settings()
    context = open_context(settings, tmp_path / "out")
    (shard,) = shards(settings, context.source.list())
    return context, shard


def rows(context: JobContext, shard: Shard, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(part_path(context.out, table, shard.id)).to_pylist()
    for row in found:
        row["file"] = Path(row["uri"]).name
    return found


def test_a_shard_gives_a_row_for_each_window_and_item_and_a_dead_letter(job: tuple[JobContext, Shard]) -> None:
    context, shard = job
    ShardRun(context, shard).run()()

    windows = rows(context, shard, "windows")
    for model in ("kinds", "normal"):
        spans = [(row["file"], row["start_sample"], row["end_sample"]) for row in windows if row["model"] == model]
        # The last window ends with the recording; a short recording is one window.
        assert spans == [("1.wav", 0, 4096), ("1.wav", 4096, 8192), ("1.wav", 7904, 12000), ("3.wav", 0, 800)]

    items = {(row["model"], row["file"]): row for row in rows(context, shard, "recordings")}
    assert list(items) == [("kinds", "1.wav"), ("kinds", "3.wav"), ("normal", "1.wav"), ("normal", "3.wav")]
    assert [row["windows"] for row in items.values()] == [3, 1, 3, 1]
    kinds, normal, short = items["kinds", "1.wav"], items["normal", "1.wav"], items["normal", "3.wav"]
    assert (kinds["label"] in ("low", "mid", "high"), kinds["score"]) == (True, None)
    assert (normal["label"], normal["judged_by"], normal["not_judged"]) == (None, "a", None)
    assert 0 < normal["p_value"] <= 1
    scores = [row["score"] for row in windows if (row["model"], row["file"]) == ("normal", "1.wav")]
    assert sum(scores) / 3 <= normal["score"] <= max(scores)
    assert "shorter than the model's window" in short["not_judged"]

    (letter,) = rows(context, shard, "dead_letters")
    assert (letter["file"], letter["source"], letter["stage"]) == ("2.wav", "a", "decode")


def test_the_commit_counts_what_was_written_and_is_on_disk(job: tuple[JobContext, Shard]) -> None:
    context, shard = job
    commit = ShardRun(context, shard).run()()
    assert (commit.shard, commit.files, commit.windows, commit.dead_letters) == (shard.id, 3, 8, 1)
    assert commit.rows == {"windows": 8, "recordings": 4, "dead_letters": 1}
    assert sum(commit.labels["kinds"].values()) == 2
    assert commit.labels["normal"] == {}
    assert commit.sources["kinds"] == {"a": SourceCount(recordings=1), "b": SourceCount(recordings=1, short=1)}
    assert commit.sources["normal"]["b"] == SourceCount(recordings=1, not_judged=1, short=1)
    read = read_commit(context.out, shard.id)
    assert not isinstance(read, str)
    assert read.model_copy(update={"digest": ""}) == commit
    assert find_damage(context.out, read) == ""


def test_one_context_serves_one_shard_after_the_other(job: tuple[JobContext, Shard]) -> None:
    context, shard = job
    first = ShardRun(context, shard).run()()
    assert ShardRun(context, shard).run()() == first  # the same rows, byte for byte: nothing is left of the first run


def test_more_classes_and_embeddings_are_written_on_request(models: Path, tmp_path: Path) -> None:
    sound = tone(4096 / 8000, seed=1)
    write_wav(tmp_path / "data" / "a" / "1.wav", sound)
    (tmp_path / "out").mkdir()
    request = JobRequest((str(tmp_path / "data"),), ("kinds", "normal"), models, top_k=2, embeddings=True)
    settings = request.to_settings()
    context = open_context(settings, tmp_path / "out")
    (shard,) = shards(settings, context.source.list())
    ShardRun(context, shard).run()()
    by_model = {row["model"]: row for row in rows(context, shard, "windows")}
    assert len(by_model["kinds"]["top_k"]) == 2
    with open_job_engine(settings) as engine:
        spec = engine.spec("kinds")
        answer = engine.infer(InferRequest("kinds", {next(iter(spec.inputs)): sound[None]}, ["embedding"]))["embedding"][0]
    # sound in the file has 16 bits
    np.testing.assert_allclose(by_model["kinds"]["embedding"], answer, rtol=0, atol=1e-2 * float(np.abs(answer).max()))
    assert by_model["normal"]["embedding"]


def test_embeddings_of_models_that_have_none_are_refused(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    path = tmp_path / "models" / "normal" / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["outputs"] = [each for each in manifest["outputs"] if each["name"] != "embedding"]
    path.write_text(json.dumps(manifest))
    settings = JobRequest(("data",), ("normal",), models, embeddings=True).to_settings()
    with pytest.raises(JobError, match="no output 'embedding' of normal"):
        open_models(settings.model_copy(update={"repository": str(tmp_path / "models")}))


def test_a_shard_counts_what_is_not_as_the_models_take_it(models: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "data" / "usual.wav", tone(1.0))
    write_wav(tmp_path / "data" / "low.wav", tone(2.0), rate=SAMPLE_RATE // 2)
    write_wav(tmp_path / "data" / "stereo.wav", tone(1.0)[:, None].repeat(2, axis=1))
    write_wav(tmp_path / "data" / "short.wav", tone(0.1))
    (tmp_path / "out").mkdir()
    settings = JobRequest((str(tmp_path / "data"),), ("kinds", "normal"), models, alpha=0.05).to_settings()
    context = open_context(settings, tmp_path / "out")
    (shard,) = shards(settings, context.source.list())
    commit = ShardRun(context, shard).run()()
    assert (commit.low_rate, commit.several_channels, commit.padded) == (1, 1, 1)


def test_models_that_run_as_one_graph_have_the_rows_of_each_alone(job: tuple[JobContext, Shard], tmp_path: Path) -> None:
    together, shard = job
    assert [group.name for group in together.groups] == ["kinds+normal"]
    ShardRun(together, shard).run()()
    for name in ("kinds", "normal"):
        (choice,) = (each for each in together.settings.models if each.name == name)
        alone = open_context(together.settings.model_copy(update={"models": (choice,)}), tmp_path / name)
        (tmp_path / name).mkdir()
        ShardRun(alone, shard).run()()
        for table in ("windows", "recordings"):
            assert rows(alone, shard, table) == [row for row in rows(together, shard, table) if row["model"] == name]


def test_an_item_on_which_the_model_does_not_run_is_a_dead_letter(lookup: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "out").mkdir()
    for number, index in enumerate((0, 99, 3)):
        np.save(tmp_path / "data" / f"{number}.npy", np.array([[index]]))
    settings = JobRequest((str(tmp_path / "data"),), ("lookup",), lookup).to_settings()
    context = open_context(settings, tmp_path / "out")
    (shard,) = shards(settings, context.source.list())
    commit = ShardRun(context, shard).run()()
    assert (commit.windows, commit.dead_letters) == (2, 1)
    assert [row["file"] for row in rows(context, shard, "recordings")] == ["0.npy#0", "2.npy#0"]
    (letter,) = rows(context, shard, "dead_letters")
    assert (letter["file"], letter["stage"], letter["error_class"]) == ("1.npy#0", "run", "EngineError")
    assert letter["message"].startswith("1.npy#0: ONNX Runtime failed at model 'lookup'")


def test_rows_of_windows_that_share_a_batch_are_those_of_each_alone(models: Path, tmp_path: Path) -> None:
    """Files of one source, of another, and short ones are next to each other in a batch."""
    for number, (source, seconds) in enumerate([("a", 1.5), ("a", 0.6), ("a", 0.1), ("a", 0.1), ("b", 0.6), ("c", 1.2)]):
        write_wav(tmp_path / "data" / source / f"{number}.wav", tone(seconds, seed=number))
    found = []
    for size in (1, 16):
        (out := tmp_path / str(size)).mkdir()
        settings = JobRequest((str(tmp_path / "data"),), ("normal",), models, alpha=0.05, batch_size=size).to_settings()
        context = open_context(settings, out)
        shard = Shard("s", tuple(context.source.list()))
        ShardRun(context, shard).run()()
        found.append([rows(context, shard, table) for table in ("windows", "recordings")])
    for alone, together in zip(*found, strict=True):
        assert len({(row["source"], row["judged_by"]) for row in alone}) >= 3
        for one, other in zip(alone, together, strict=True):
            assert other == {name: pytest.approx(value, rel=1e-5) if name == "score" else value for name, value in one.items()}


def test_a_job_goes_on_with_the_shards_that_it_began_with(models: Path) -> None:
    request = JobRequest(("data",), ("normal",), models)
    new = request.to_settings()
    assert new.shard_files == SHARD_FILES
    begun = new.model_copy(update={"shard_files": SHARD_FILES_BEFORE})
    assert request.to_settings(begun).digest == begun.digest != new.digest

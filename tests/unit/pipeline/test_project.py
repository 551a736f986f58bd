"""projection/project.py: maps of the embeddings of finished jobs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from unit.pipeline.embedded_jobs import clouds, embedded_job

from avizor_inference.errors import AvizorError, JobError, SettingsError
from avizor_pipeline.projection import project as project_module
from avizor_pipeline.projection.project import ProjectionRequest, project
from avizor_pipeline.projection.trust import trust_of

_PCA = ProjectionRequest(method="pca", pictures=False)
_TSNE = ProjectionRequest(method="tsne", pictures=False, threads=1)


def test_a_map_has_a_place_for_each_window_in_their_order(tmp_path: Path) -> None:
    vectors, labels = clouds(60)
    out = embedded_job(tmp_path / "out", vectors, labels=labels, windows=3)
    report = project(out, _PCA)
    rows = pq.read_table(out / "projection/m-pca.parquet").to_pylist()
    windows = [row for part in sorted((out / "windows").glob("*")) for row in pq.read_table(part).to_pylist()]
    keys = ("uri", "channel", "start_sample", "model")
    assert [tuple(row[key] for key in keys) for row in rows] == [tuple(row[key] for key in keys) for row in windows]
    assert report.metric == "cosine"
    assert report.explained is not None
    assert report.trust.knn_accuracy is not None
    assert report.trust.knn_accuracy.labels == "predicted"
    assert json.loads((out / "projection/m-pca.json").read_text()) == json.loads(report.model_dump_json())


def test_without_labels_distances_are_euclidean_and_sources_are_the_labels(tmp_path: Path) -> None:
    report = project(embedded_job(tmp_path / "out", clouds(40)[0]), _PCA)
    assert report.metric == "euclidean"
    assert report.trust.knn_accuracy is not None
    assert report.trust.knn_accuracy.labels == "source"


def test_two_runs_of_tsne_make_the_same_map_and_another_seed_another_one(tmp_path: Path) -> None:
    out = embedded_job(tmp_path / "out", clouds(40)[0])
    maps = []
    for seed in (0, 0, 1):
        project(out, ProjectionRequest(pictures=False, threads=1, seed=seed))
        maps.append((out / "projection/m-tsne.parquet").read_bytes())
    assert maps[0] == maps[1] != maps[2]


def test_new_points_are_placed_among_their_like_and_old_ones_stay(tmp_path: Path) -> None:
    vectors, labels = clouds(90)
    project(embedded_job(tmp_path / "old", vectors[:60], labels=labels[:60]), _TSNE)
    before = pq.read_table(tmp_path / "old/projection/m-tsne.parquet")
    out = embedded_job(tmp_path / "new", vectors, labels=labels)  # a folder that has grown
    report = project(out, ProjectionRequest(pictures=False, threads=1, place_in=str(tmp_path / "old")))
    after = pq.read_table(out / "projection/m-tsne.parquet")
    assert (report.kept, report.points) == (60, 90)
    for axis in "xy":
        np.testing.assert_array_equal(after[axis].to_numpy()[:60], before[axis].to_numpy())
    assert report.trust.knn_accuracy is not None
    assert report.trust.knn_accuracy.after > 0.95
    again = project(embedded_job(tmp_path / "third", vectors), ProjectionRequest(pictures=False, place_in=str(out)))
    assert again.kept == 60, "a job that was placed has the old map"


def test_a_point_whose_embedding_has_changed_is_placed_anew(tmp_path: Path) -> None:
    vectors, _ = clouds(40)
    project(embedded_job(tmp_path / "old", vectors), _PCA)
    changed = vectors.copy()
    changed[0] += 1
    placed_in = str(tmp_path / "old/maps/m-pca.npz")
    report = project(
        embedded_job(tmp_path / "new", changed), ProjectionRequest(method="pca", pictures=False, place_in=placed_in)
    )
    assert report.kept == 39


def test_a_map_of_another_model_is_refused(tmp_path: Path) -> None:
    vectors, _ = clouds(30)
    project(embedded_job(tmp_path / "old", vectors), _PCA)
    out = embedded_job(tmp_path / "new", vectors, sha256="1" * 64)
    with pytest.raises(SettingsError, match="embeddings of two models cannot be compared"):
        project(out, ProjectionRequest(method="pca", pictures=False, place_in=str(tmp_path / "old")))


def test_a_map_that_cannot_be_read_is_refused_and_nothing_in_it_is_run(tmp_path: Path) -> None:
    out = embedded_job(tmp_path / "out", clouds(30)[0])
    bad = tmp_path / "bad.npz"
    np.savez(bad, method=np.array([print], dtype=object))  # a pickle
    for content in (bad.read_bytes(), b"", b"PK\x03\x04 and no more", bad.read_bytes()[:100]):
        bad.write_bytes(content)
        with pytest.raises(SettingsError, match=r"no map that can be read|not a map"):
            project(out, ProjectionRequest(method="pca", pictures=False, place_in=str(bad)))
    with pytest.raises(SettingsError, match="there is no map"):
        project(out, ProjectionRequest(method="pca", pictures=False, place_in=str(tmp_path / "absent")))


@pytest.mark.parametrize(
    "damage",
    [
        {"points": np.full((30, 2), np.nan, np.float32)},
        {"perplexity": np.array(1e9)},
        {"method": np.array("x/../../evil")},
        {"metric": np.array("manhattan")},
        {"mean": np.zeros(1)},
        {"places": np.array(1.0)},
        {"format": np.array([1, 1])},
        {"seed": np.array(-5)},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_a_damaged_map_is_refused_and_the_good_one_stays(tmp_path: Path, damage: dict[str, Any]) -> None:
    out = embedded_job(tmp_path / "out", clouds(30)[0])
    project(out, _PCA)
    good = (out / "maps/m-pca.npz").read_bytes()
    with np.load(out / "maps/m-pca.npz") as file:
        np.savez(tmp_path / "bad.npz", **{**file, **damage})
    with pytest.raises(SettingsError, match=r"do not belong together|of another|not a map|is damaged"):
        project(out, ProjectionRequest(method="pca", pictures=False, place_in=str(tmp_path / "bad.npz")))
    assert (out / "maps/m-pca.npz").read_bytes() == good


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    out = embedded_job(tmp_path / "out", clouds(30)[0])
    bomb = tmp_path / "bomb.npz"
    np.savez(bomb, points=np.zeros(8, np.float32))
    content = bytearray(bomb.read_bytes())
    at = content.rindex(b"PK\x01\x02") + 24  # the size of the only member, in the directory
    content[at : at + 4] = (0xFFFF_FFF0).to_bytes(4, "little")
    bomb.write_bytes(content)
    with pytest.raises(SettingsError, match=r"it unpacks to 4\.0 GiB"):
        project(out, ProjectionRequest(method="pca", pictures=False, place_in=str(bomb)))


def test_a_table_that_is_damaged_is_named_with_what_to_do(tmp_path: Path) -> None:
    out = embedded_job(tmp_path / "out", clouds(30)[0])
    part = max((out / "windows").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with pytest.raises(JobError, match="avizor verify"):
        project(out, _PCA)


def test_pictures_of_an_earlier_map_do_not_stay(tmp_path: Path) -> None:
    vectors, labels = clouds(30)
    out = embedded_job(tmp_path / "out", vectors, labels=labels)
    project(out, ProjectionRequest(method="pca", colours=("label", "source")))
    project(out, ProjectionRequest(method="pca", colours=("label",)))
    assert [path.name for path in (out / "projection").glob("*.png")] == ["m-pca-label.png"]


def test_of_more_windows_a_random_sample_is_shown(tmp_path: Path) -> None:
    out = embedded_job(tmp_path / "out", clouds(60)[0])
    report = project(out, ProjectionRequest(method="pca", pictures=False, most=20))
    assert (report.windows, report.points) == (60, 20)
    assert pq.read_table(out / "projection/m-pca.parquet").num_rows == 20


def _no_embeddings(out: Path) -> None:
    embedded_job(out, clouds(30)[0], embeddings=False)


def _unfinished(out: Path) -> None:
    embedded_job(out, clouds(30)[0])
    (out / "summary.json").unlink()


def _not_finite(out: Path) -> None:
    vectors, _ = clouds(30)
    vectors[7, 3] = np.nan
    embedded_job(out, vectors)


def _equal(out: Path) -> None:
    embedded_job(out, np.full((30, 8), 0.1, np.float32))


def _few(out: Path) -> None:
    embedded_job(out, clouds(4)[0])


def _none(out: Path) -> None:
    embedded_job(out, clouds(2)[0])
    shutil.rmtree(out / "windows")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_no_embeddings, r"has no embeddings; run it with --embeddings"),
        (_unfinished, r"is not finished; run its command again"),
        (_not_finite, r"1 of 30 embeddings of m hold values that are not finite, the first is of sounds/0007\.wav"),
        (_equal, r"all 30 embeddings of m are equal"),
        (_few, r"4 points are too few for a map by tsne, which needs 10; .*--method pca"),
        (_none, r"no window in .* has an embedding"),
        (lambda out: out.mkdir(), r"holds no batch job"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_reason(tmp_path: Path, make: object, message: str) -> None:
    assert callable(make)
    make(tmp_path / "out")
    with pytest.raises(AvizorError, match=message):
        project(tmp_path / "out", _TSNE)
    assert not (tmp_path / "out/projection").exists()


def test_a_missing_package_is_named_with_its_extra_and_what_does_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = embedded_job(tmp_path / "out", clouds(30)[0])
    for module, request, extra in (
        ("openTSNE", _TSNE, r"avizor\[projection\]', or choose --method pca$"),
        ("umap", ProjectionRequest(method="umap", pictures=False), "umap-learn', or choose --method pca$"),
        ("matplotlib.figure", ProjectionRequest(method="pca"), r"avizor\[pictures\]', or give --no-pictures$"),
    ):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(SettingsError, match=extra):
            project(out, request)


def test_a_perplexity_that_is_too_large_is_refused_with_the_largest(tmp_path: Path) -> None:
    out = embedded_job(tmp_path / "out", clouds(30)[0])
    with pytest.raises(SettingsError, match=r"needs at least 61 points, and there are 30; give at most 9\.6"):
        project(out, ProjectionRequest(pictures=False, perplexity=20))


def test_a_job_that_runs_again_meanwhile_gets_no_map_of_its_old_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = embedded_job(tmp_path / "out", clouds(30)[0])
    judge = trust_of

    def runs_again(*arguments: object) -> object:
        (out / "summary.json").write_text('{"another": "run"}')
        return judge(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(project_module, "trust_of", runs_again)
    with pytest.raises(JobError, match="run again meanwhile"):
        project(out, _PCA)
    assert not (out / "projection").exists()

"""`avizor fit` compares pictures of the same thing place by place, finds a small fault, and says what it chose."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from support.pictures import discs

from avizor_export.fitting.cli import fit
from avizor_export.fitting.kept import read_kept
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.repository.models import ModelRepository


def write(folder: Path, pictures: np.ndarray) -> Path:
    folder.mkdir()
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pictures") / "good", discs(40))


def tried(folder: Path, models: Path, *options: object) -> str:
    """Run the command in this process, and return what it printed, in one line."""
    result = CliRunner().invoke(fit, [str(each) for each in (folder, "--models", models, "--steps", 10, *options)])
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def scores(models: Path, pictures: np.ndarray, version: int = 1) -> np.ndarray:
    with EmbeddedEngine(models, device="cpu") as engine:
        return engine.infer(InferRequest("discs", {"image": pictures}, ["score"], version))["score"][:, 0]


def test_a_small_fault_is_found_and_the_next_version_has_the_same_scores(good: Path, tmp_path: Path) -> None:
    models, script = tmp_path / "models", tmp_path / "discs.py"
    printed = tried(good, models, "--name", "discs", "--folds", 0, "--explain", script)
    assert "places compared, too because pictures show the same thing in the same place: principal components" in printed
    assert "with_local=True)" in script.read_text()
    assert "score decides: reconstruction_score, neighbour_score and local_score together" in printed
    odd, normal = discs(20, 2, spot=0.12), discs(20, 1)
    assert scores(models, odd).min() > scores(models, normal).max()
    tried(write(tmp_path / "new", discs(40, 5)), models, "--improve", "discs", "--force")
    first, second = (ModelRepository(models).version("discs", number).manifest.outputs for number in (1, 2))
    assert [output.name for output in first] == [output.name for output in second]
    assert scores(models, odd, 2).min() > scores(models, normal, 2).max()


@pytest.mark.slow
def test_each_detector_of_cross_fitting_compares_places(good: Path, tmp_path: Path) -> None:
    tried(good, tmp_path, "--name", "discs", "--folds", 2)
    names = read_kept(ModelRepository(tmp_path).version("discs")).tensors
    assert sum(name.endswith("local_score.mean") for name in names) == 2
    assert scores(tmp_path, discs(20, 2, spot=0.12)).min() > scores(tmp_path, discs(20, 1)).max()


def test_places_are_compared_or_not_as_it_is_given(good: Path, tmp_path: Path) -> None:
    assert "places not compared it was given" in tried(good, tmp_path, "--dry-run", "--no-local")
    assert "pictures of at least 64 pixels" in tried(good, tmp_path, "--dry-run", "--size", "32x32")
    small = CliRunner().invoke(fit, [str(good), "--dry-run", "--local", "--size", "32x32"])
    assert small.exit_code != 0
    wanted = "pictures of at least 64 pixels that are no narrow strips, 12 or more to train with"
    assert f"--local: it takes {wanted}; give --size or more of them, or leave it out" in str(small.exception)


def test_places_are_not_compared_where_the_training_has_too_few_pictures(good: Path, tmp_path: Path) -> None:
    few = ("--limit", "30", "--calibration", "0.6", "--dry-run")
    assert "12 or more to train with" in tried(good, tmp_path, *few)
    refused = CliRunner().invoke(fit, [str(good), *few, "--local"])
    assert "--local: it takes pictures of at least 64 pixels" in str(refused.exception)

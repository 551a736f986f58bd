"""`avizor fit --improve` of a detector: training goes on with new normal items, and it is calibrated with them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from support.warm_starts import warm_run

from avizor_export.fitting.kept import read_kept
from avizor_inference.calibrate_cli import calibrate
from avizor_inference.checks.check_version import check_model
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.trained_items import TRAINED_FILE, read_trained

AVIZOR = Path(sys.executable).with_name("avizor")


def rows(count: int, seed: int, level: float) -> NDArray[np.float64]:
    """Rows of four numbers that lie near a plane, at a level."""
    random = np.random.default_rng(seed)
    hidden = random.normal(level, 1, (count, 2))
    weights = np.array([[1.0, 0.5, -0.5, 0.2], [0.3, -1.0, 0.8, 0.6]])
    return np.asarray(hidden @ weights + random.normal(0, 0.1, (count, 4)))


def write(path: Path, values: NDArray[np.float64]) -> Path:
    np.savetxt(path, values, delimiter=",", header="a,b,c,d", comments="", fmt="%.4f")
    return path


def fit(*arguments: object, code: int = 0) -> str:
    command = [str(AVIZOR), "fit", *map(str, arguments)]
    result = warm_run(command, timeout=900, stderr=subprocess.STDOUT)
    assert result.returncode == code, result.stdout
    return str(result.stdout)


def scores(version: ModelVersion, values: NDArray[np.float64]) -> NDArray[np.float64]:
    with EmbeddedEngine(version.folder.parent.parent, device="cpu") as engine:
        asked = InferRequest(version.name, {"record": values.astype(np.float32)}, ["score"], version.version)
        return infer_rows(engine, asked)["score"][:, 0]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted")
    fit(write(folder / "rows.csv", rows(300, 0, 0.0)), "--name", "plane", "--models", folder / "models", "--steps", 300)
    return folder / "models"


def test_new_items_become_normal_and_earlier_ones_stay_so(models: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new.csv", rows(300, 1, 4.0))
    new.write_text(new.read_text() + "1,2,3\n")
    printed = fit(new, "--improve", "plane", "--models", models, "--steps", 300)
    assert "1 of the items cannot be read, and are left out: " in printed
    flagged = re.search(r"version 1 flags (\d+) of (\d+) held-out new items at alpha 0.05 .* clearly more .*, so", printed)
    assert flagged
    assert int(flagged[1]) > 0.5 * int(flagged[2])  # by the version before
    errors = re.search(r"mean error of held-out new items: (\S+) before, (\S+) now", printed)
    assert errors
    before, after = map(float, errors.groups())
    assert after < before
    assert re.search(r"^smallest alpha: ", printed, re.MULTILINE)
    assert printed.splitlines()[-1] == f"avizor batch {new} --models {models} --model plane --alpha 0.02 --out plane-results-2"
    repository = ModelRepository(models)
    assert repository.versions("plane") == [1, 2]
    assert check_model(repository, "plane") == []
    first, improved = repository.version("plane", 1), repository.version("plane", 2)
    assert read_kept(improved).record["improves"] == 1
    (calibration,) = improved.calibrations()
    threshold = np.quantile([item[0] for item in calibration.sources["default"]], 0.95)
    fresh = scores(improved, rows(200, 2, 4.0))
    assert np.mean(fresh > threshold) < 0.15
    assert np.mean(scores(improved, rows(200, 3, 0.0)) > threshold) < 0.5  # the bank has the earlier ones, too
    odd = np.random.default_rng(4).normal(0, 4, (200, 4))
    assert np.mean(scores(improved, odd) > threshold) > 0.8
    assert first.manifest.outputs == improved.manifest.outputs
    earlier, both = read_trained(first.folder), read_trained(improved.folder)
    assert earlier is not None
    assert both is not None
    assert earlier < both
    assert (len(earlier), len(both)) == (210, 420)


def test_what_promises_less_and_is_not_needed_is_published_only_if_asked(models: Path, tmp_path: Path) -> None:
    again = tmp_path / "models"
    shutil.copytree(models, again)
    repository, options = ModelRepository(again), ("--improve", "plane", "--models", again, "--steps", 60)
    before = repository.versions("plane")
    new = write(tmp_path / "new.csv", rows(60, 5, 0.0))
    printed = fit(new, *options, code=5)
    assert f"version {before[-1]} flags " in printed
    assert re.search(r"^calibration of default: 90 items \(.* 0.011\) before, 20 items \(.* 0.048\) now$", printed, re.M)
    assert re.search(
        r"^nothing was published: .* would support alpha 0.048, not 0.011 as .* --force.*$",
        printed,
        re.M,
    )
    assert "avizor serve" not in printed
    assert repository.versions("plane") == before
    printed = fit(new, *options, "--force")
    assert re.search(r"^Warning: the smallest alpha of default was 0.011, and is 0.048", printed, re.MULTILINE)
    assert printed.splitlines()[-2].endswith("--alpha 0.05")
    assert len(repository.versions("plane")) == len(before) + 1


def test_of_a_version_that_does_not_say_what_it_was_trained_with_the_next_says_nothing(models: Path, tmp_path: Path) -> None:
    again = tmp_path / "models"
    shutil.copytree(models, again)
    repository = ModelRepository(again)
    (repository.served("plane").folder / TRAINED_FILE).unlink()
    new = write(tmp_path / "new.csv", rows(300, 6, 4.0))
    fit(new, "--improve", "plane", "--models", again, "--steps", 60, "--force")
    assert read_trained(repository.served("plane").folder) is None
    noted = CliRunner().invoke(calibrate, ["plane", "--models", str(again), "--data", str(new)])
    assert "the items that it trained with may not be among these" in noted.stderr


def test_other_items_are_refused(models: Path, tmp_path: Path) -> None:
    few = write(tmp_path / "few.csv", rows(12, 1, 4.0))
    command = [str(AVIZOR), "fit", str(few), "--improve", "plane", "--models", str(models)]
    result = warm_run(command)
    assert result.returncode == 1
    assert "has 12 rows; at least 30 normal rows are needed" in result.stderr

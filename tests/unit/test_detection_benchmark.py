"""The benchmark of detection: what it counts, how it compares, and that no item is in two parts of a set."""

import math
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.environment import ROOT

if find_spec("pyod") is None:  # to load it takes a second
    pytest.skip("the extra `bench` is not installed", allow_module_level=True)
for folder in (ROOT / "benchmarks", ROOT / "examples"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from detection.methods import METHODS, TRIALS, trials  # noqa: E402
from detection.metrics import METRICS, measure, recall  # noqa: E402
from detection.run import NO_TUNING, Task, run  # noqa: E402
from detection.sets import DetectionSet, Items, of_parts, of_recordings, single  # noqa: E402
from detection.sources import sources  # noqa: E402
from detection.tables import interval, markdown, whole  # noqa: E402


def gaussian_set(seed: int = 0) -> DetectionSet:
    rng = np.random.default_rng(seed)
    parts = [single(rng.normal(size=(count, 6))) for count in (200, 50, 100, 60)]
    return of_parts("gaussian", "tables", parts, {"gaussian": single(rng.normal(6, 1, (50, 6)))})


def test_recall_counts_anomalies_whose_p_value_is_at_most_alpha() -> None:
    calibration = np.arange(99.0)
    # p = (1 + number of calibration scores at least as high) / 100
    assert recall(calibration, np.array([98.5, 94.0, 93.9]), 0.05) == pytest.approx(1 / 3)
    assert recall(calibration, np.array([98.5, 98.0, 95.0]), 0.05) == 1.0
    assert recall(calibration, np.array([98.5, 98.0]), 0.01) == 0.5


def test_a_calibration_too_small_for_alpha_has_no_recall() -> None:
    assert math.isnan(recall(np.arange(98.0), np.array([1e9]), 0.01))


def test_scores_that_separate_have_areas_of_1_and_equal_ones_of_half() -> None:
    separate = measure(np.arange(99.0), np.arange(50.0), np.arange(1000.0, 1010.0))
    assert (separate["auc"], separate["partial_auc"], separate["recall_05"]) == (1.0, 1.0, 1.0)
    assert measure(np.zeros(99), np.zeros(50), np.zeros(50))["auc"] == 0.5


def test_an_interval_draws_the_columns_of_one_set_together() -> None:
    # Fifteen columns of one set that agree say no more than one.
    differences = np.array([0.2] * 15 + [-0.1, 0.0, 0.1])
    apart = interval(differences, np.array([f"set {number}" for number in range(18)]))
    together = interval(differences, np.array(["machine"] * 15 + ["a", "b", "c"]))
    assert apart[0] == together[0] == pytest.approx(differences.mean())
    assert apart[1] > 0 > together[1]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "PyOD ECOD"])
def test_every_method_finds_rows_far_from_the_normal_ones(name: str) -> None:
    data = gaussian_set()
    score = METHODS[name].fit(data, 0, {})
    scores = [METHODS[name].item_scores(score, part) for part in (data.calibration, data.normal, data.anomalies["gaussian"])]
    assert measure(*scores)["auc"] > 0.95


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_ten_different_trials_or_nothing_to_tune(name: str) -> None:
    tried = trials(name)
    assert len(tried) == (TRIALS if METHODS[name].space else 0)
    assert all(setting not in tried[:place] for place, setting in enumerate(tried))


def test_an_item_of_several_windows_has_one_score() -> None:
    items = of_recordings([np.ones((2, 3)), np.zeros((1, 3))])
    assert METHODS["kNN"].item_scores(lambda windows: windows.sum(axis=1), items).tolist() == [3.0, 0.0]
    assert items.part(1, 2).windows.shape == (1, 3)


def rows_of(items: Items) -> set[bytes]:
    return {window.tobytes() for window in items.windows}


@pytest.mark.parametrize("name", ["series pulses", "bank transfers"])
def test_no_item_of_a_set_is_in_two_parts_and_seeds_make_others(name: str, tmp_path: Path) -> None:
    one, other = (sources()[name](tmp_path, seed) for seed in (0, 1))
    parts = [rows_of(part) for part in (one.train, one.statistics, one.calibration, one.normal, one.anomalies[name])]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert not rows_of(one.train) & rows_of(other.train)


def test_a_run_reads_a_set_back_and_its_table_names_the_winner(tmp_path: Path) -> None:
    data = gaussian_set()
    data.save(tmp_path / "gaussian-0.npz")
    rows = []
    for method in ("kNN", "PyOD ECOD"):
        rows += run(Task("gaussian", 0, method, NO_TUNING, {}, tmp_path, tmp_path))
    assert float(rows[0]["auc"]) > 0.99
    text = markdown(pd.DataFrame(rows), list(METHODS), NO_TUNING, "kNN")
    assert "Means over 1 columns of 1 sets" in text
    assert "| gaussian | 1.000 |" in text


def test_only_trainings_that_all_methods_have_are_compared() -> None:
    def row(method: str, seed: int, auc: float) -> dict[str, object]:
        about = {"set": "a", "family": "tables", "seed": seed, "method": method, "budget": NO_TUNING, "column": "a"}
        return {**about, **dict.fromkeys(METRICS, auc)}

    rows = [row("kNN", 0, 0.5), row("kNN", 1, 0.7), row("PCA", 0, 0.4)]
    table, methods = whole(pd.DataFrame(rows), NO_TUNING, ["kNN", "PCA", "Mahalanobis"])
    assert methods == ["kNN", "PCA"]
    assert table["auc"]["kNN"].tolist() == [0.5]
    assert table["auc"]["PCA"].tolist() == [0.4]

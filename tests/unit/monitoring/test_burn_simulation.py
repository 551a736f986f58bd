"""Normal data meets the alert's condition with a probability below 1e-4, by its distribution and in a simulation."""

import importlib.util
import re
from types import ModuleType

import numpy as np
import pytest
from support.environment import ROOT


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("alert_false_alarms", ROOT / "benchmarks" / "alert_false_alarms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figures_are_those_of_the_rules(figures: ModuleType) -> None:
    rules = (ROOT / "monitoring" / "prometheus" / "rules" / "anomalies.yml").read_text()
    assert f"(1 - (1 - avizor:alert_alpha) ^ {figures.TWELVE}) / avizor:alert_alpha" in rules
    volumes = re.findall(r"increase\(avizor_anomalies_total\[\w+\]\)\) >= (\d+)", rules)
    assert set(volumes) == {str(figures.FLAGGED)}
    of_jobs = (ROOT / "monitoring" / "prometheus" / "rules" / "batch.yml").read_text()
    assert f"(1 - (1 - last_over_time(avizor_batch_alpha[15m])) ^ {figures.TWELVE})" in of_jobs
    assert f"and last_over_time(avizor_batch_anomalies[15m]) >= {figures.FLAGGED_IN_A_JOB}" in of_jobs


@pytest.mark.parametrize(
    ("alpha", "recordings"), [(0.01, (99, 240, 999)), (0.05, (19, 40, 99, 240, 1000)), (0.1, (9, 40, 240))]
)
def test_healthy_data_stays_silent(figures: ModuleType, alpha: float, recordings: tuple[int, ...]) -> None:
    for number in recordings:
        assert figures.probability(alpha, number) < 1e-4
        assert figures.probability(alpha, number, flagged=figures.FLAGGED_IN_A_JOB) < 1e-4


def test_faulty_data_does_not(figures: ModuleType) -> None:
    """A source of which 60 % is flagged is over the limit at every alpha up to 0.05."""
    assert max(figures.limit(alpha) for alpha in (0.01, 0.05)) < 0.6


def test_the_distribution_is_what_simulated_calibrations_give(figures: ModuleType) -> None:
    """The share flagged over 4,000 calibrations of 19 recordings, 200 items each, against the formula's tail."""
    rng = np.random.default_rng(0)
    calibrations = np.sort(rng.standard_normal((4000, 19)), axis=1)
    items = rng.standard_normal((4000, 200))
    above = 19 - np.array([np.searchsorted(row, new, side="left") for row, new in zip(calibrations, items, strict=True)])
    flagged = ((1 + above) / 20 <= 0.05).sum(axis=1)
    for count in (20, 40, 60):
        expected = figures.betabinom.sf(count - 1, 200, 1, 19)
        assert np.mean(flagged >= count) == pytest.approx(expected, abs=4 * np.sqrt(expected / 4000) + 1e-3)

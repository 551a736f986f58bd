"""The slope of memory over time is found, and its 95 % interval holds it so often, though samples depend on each other."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
from support.environment import ROOT

SAMPLES = 540  # 45 minutes, one every 5 s
HOURS = np.arange(SAMPLES) * 5 / 3600


@pytest.fixture(scope="module")
def fit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("memory_slope", ROOT / "benchmarks" / "memory_slope.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass asks for it
    spec.loader.exec_module(module)
    return module


def wobble(seed: int, memory: float) -> np.ndarray:
    """A first-order autoregression of unit spread: each sample keeps the share `memory` of the one before."""
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal()]
    for step in rng.standard_normal(SAMPLES - 1):
        values.append(memory * values[-1] + np.sqrt(1 - memory**2) * step)
    return np.array(values)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("true", [0.0, 3.0])
def test_the_interval_holds_the_slope_in_about_95_of_100_runs(fit: ModuleType, memory: float, true: float) -> None:
    found = [fit.slope(HOURS, 250 + true * HOURS + wobble(seed, memory)) for seed in range(400)]
    held = np.mean([each.low <= true <= each.high for each in found])
    assert 0.92 <= held <= 0.99
    assert np.mean([each.value for each in found]) == pytest.approx(true, abs=0.2)


def test_flat_memory_has_no_slope_and_one_that_grows_is_seen(fit: ModuleType) -> None:
    flat = fit.slope(HOURS, np.full(SAMPLES, 250.0))
    assert (flat.value, flat.low, flat.high) == pytest.approx((0, 0, 0), abs=1e-3)
    assert fit.slope(HOURS, 250 + 2 * HOURS + 0.1 * wobble(0, 0.9)).low > 1


def test_too_few_samples_are_refused(fit: ModuleType) -> None:
    with pytest.raises(ValueError, match="20 samples are too few; measure longer"):
        fit.slope(HOURS[:20], HOURS[:20])

"""Both engines give the same maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.sounds import tone

from avizor_inference.engines.open_engine import open_engine
from avizor_inference.explain.curves import curves
from avizor_inference.explain.error_map import error_map
from avizor_inference.explain.hiding.settings import HidingSettings
from avizor_inference.explain.occlusion import occlusion_map
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.repository.models import ModelRepository


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("digits", HidingSettings((6,), (3,), "blur")),
        ("kinds", HidingSettings(by="both")),
        ("normal", HidingSettings(by="frequency")),
        ("transfers", HidingSettings()),
    ],
)
def test_maps_of_both_engines_are_the_same(models: Path, triton_address: str, model: str, settings: HidingSettings) -> None:
    repository = ModelRepository(models)
    version = repository.version(model)
    row = RawRow("item", 0, a_row(model))
    found = []
    for name in ("ort", f"triton://{triton_address}"):
        with open_engine(name, repository, device="cpu") as engine:
            maps = [occlusion_map(engine, version, row, settings)]
            maps += [error_map(engine, version, row)] if model in ("normal", "transfers") else []
            found.append((maps, curves(engine, version, maps[0])))
    (embedded, of_embedded), (triton, of_triton) = found
    for one, other in zip(embedded, triton, strict=True):
        assert one.target == other.target
        np.testing.assert_allclose(other.values, one.values, atol=1e-4 * max(1.0, abs(one.target_value)))
    assert of_triton.deletion.auc == pytest.approx(of_embedded.deletion.auc, abs=1e-3)


def a_row(model: str) -> np.ndarray:
    if model == "digits":
        return np.random.default_rng(0).integers(0, 256, (32, 32, 1)).astype(np.uint8)
    return np.array([5000, 12, 2], np.float32) if model == "transfers" else tone(4096 / 8000)

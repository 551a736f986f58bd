"""Class activation maps, and sheets of a latent space, are the same whichever engine computed what they are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.sounds import tone

from avizor_inference.arrays import Items
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.explain.cam import class_maps
from avizor_inference.explain.latent import latent_sheet
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.repository.models import ModelRepository

ROWS: dict[str, list[Items]] = {
    "digits": [np.random.default_rng(seed).integers(0, 256, (32, 32, 1), dtype=np.uint8) for seed in range(3)],
    "kinds": [tone(4096 / 8000, seed=seed, hz=200.0 * (seed + 1)) for seed in range(3)],
}


@pytest.mark.parametrize("name", ROWS)
def test_both_engines_give_the_same_maps(name: str, models: Path, triton_address: str) -> None:
    repository = ModelRepository(models)
    version = repository.version(name)
    rows = [RawRow("item", place, values) for place, values in enumerate(ROWS[name])]
    found = []
    for address in ("ort", f"triton://{triton_address}"):
        with open_engine(address, repository) as engine:
            found.append(class_maps(engine, version, rows))
    for here, there in zip(*found, strict=True):
        assert here.target == there.target
        assert np.abs(here.values - there.values).max() <= 1e-4 * np.abs(here.values).max()


def test_both_engines_give_the_same_sheet_of_a_latent_space(models: Path, triton_address: str) -> None:
    repository = ModelRepository(models)
    rows = np.random.default_rng(0).uniform(-0.5, 0.5, (12, 4096)).astype(np.float32)
    found = []
    for address in ("ort", f"triton://{triton_address}"):
        with open_engine(address, repository) as engine:
            found.append(latent_sheet(engine, repository.version("normal"), rows, 3))
    here, there = found
    assert here.shares == pytest.approx(there.shares, rel=1e-4)
    # The sign of a direction is that of its largest part, which both engines have.
    assert np.abs(here.embeddings - there.embeddings).max() <= 1e-4 * np.abs(here.embeddings).max()
    assert np.abs(here.reconstructions - there.reconstructions).max() <= 1e-4 * np.abs(here.reconstructions).max()

"""Generate rows of a table of bank transfers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avizor_inference.items.input_spec import CategoryColumn, NumberColumn, TableFrontEnd, TableInput

TRANSFER = TableInput(
    front_end=TableFrontEnd(
        columns=(
            NumberColumn(name="amount", fill=50.0, lower=0.0, upper=1e6, scale="log1p", mean=4.0, std=1.0),
            NumberColumn(name="hour", fill=12.0, mean=12.0, std=6.0),
            CategoryColumn(name="country", categories=("ES", "FR", "IT")),
        )
    )
)

# A category between two numbers.
MIXED = TableInput(
    front_end=TableFrontEnd(
        columns=(
            NumberColumn(name="amount", fill=10.0, lower=0.0, upper=1000.0, scale="log1p", mean=3.0, std=2.0),
            CategoryColumn(name="country", categories=("ES", "FR", "IT")),
            NumberColumn(name="hour", fill=12.0, mean=12.0, std=6.0),
        )
    )
)


def transfers(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return rows of TRANSFER, some values missing: float32[count, 3]."""
    rng = np.random.default_rng(seed)
    columns = [rng.lognormal(4, 1, count), rng.uniform(0, 24, count), rng.integers(0, 3, count)]
    rows = np.stack(columns, axis=1).astype(np.float32)
    rows[rng.random(rows.shape) < 0.05] = np.nan
    return rows

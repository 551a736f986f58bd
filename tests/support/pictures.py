"""Make pictures of one disc, whose light varies: the same thing in the same place."""

import numpy as np


def discs(count: int, seed: int = 0, *, spot: float = 0.0, channels: int = 3, side: int = 64) -> np.ndarray:
    """Return them as uint8[count, side, side, channels]. spot: added to the first channel of 8 x 8 pixels, 1 for white."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    disc = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1).astype(float)[..., None]
    light = random.uniform(0.5, 1, (count, 1, 1, 1))
    pixels = light * (0.3 + 0.4 * disc) + random.normal(0, 0.02, (count, side, side, channels))
    pixels[:, 20:28, 30:38, 0] += spot
    found: np.ndarray = (pixels.clip(0, 1) * 255).astype(np.uint8)
    return found

"""Write small folders of classes: pictures and sounds that a small network tells apart within seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

RATE = 4000  # Hz
PITCHES = {"low": 300, "mid": 700, "high": 1300}  # Hz


def write_pictures(folder: Path, counts: Mapping[str, int], seed: int = 0, side: int = 16, contrast: float = 1.0) -> Path:
    """Write grey pictures by class: `bars` has dark columns, `stripes` dark rows, every other class neither.

    contrast: how dark they are, 1 for black on grey; less than 0 for bright ones.
    """
    random = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = random.normal(140, 25, (side, side))
            place = int(random.integers(2, side - 4))
            if name == "bars":
                pixels[:, place : place + 3] -= 110 * contrast
            elif name == "stripes":
                pixels[place : place + 3] -= 110 * contrast
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(folder / name / f"{seed}-{number}.png")
    return folder


def write_sounds(folder: Path, count: int, seed: int = 0, classes: Mapping[str, int] = PITCHES) -> Path:
    """Write so many WAV files of each class: tones of its pitch and of about half a second, in noise."""
    random = np.random.default_rng(seed)
    for name, pitch in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seconds = np.arange(int(RATE * random.uniform(0.4, 0.6))) / RATE
            tone = np.sin(2 * np.pi * pitch * random.uniform(0.95, 1.05) * seconds + random.uniform(0, 6))
            sound = 0.3 * tone + random.normal(0, 0.05, len(seconds))
            soundfile.write(folder / name / f"{seed}-{number}.wav", sound, RATE, subtype="PCM_16")
    return folder

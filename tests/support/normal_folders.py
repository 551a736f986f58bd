"""Write small folders of normal items of each kind, as users have them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

RATE = 8000  # Hz


def write_sounds(folder: Path, count: int, *, sources: tuple[str, ...] = ("",), seconds: float = 0.5, rate: int = RATE) -> Path:
    """A humming machine in noise: `count` recordings for each source, which is a sub-folder."""
    for place, source in enumerate(sources):
        (folder / source).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng([place, number])
            times = np.arange(round(seconds * rate)) / rate
            hum = 0.3 * np.sin(2 * np.pi * (200 + 100 * place + 3 * rng.normal()) * times + rng.uniform(0, 6))
            sound = hum + 0.03 * rng.normal(size=len(times))
            soundfile.write(folder / source / f"{number:03d}.wav", sound.astype(np.float32), rate)
    return folder


def write_images(folder: Path, count: int, *, width: int = 16, height: int = 16) -> Path:
    """Stripes of a wave that moves, in grey."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        wave = 120 + 60 * np.sin(np.arange(width) / 2 + rng.uniform(0, 6)) + 5 * rng.normal(size=(height, width))
        Image.fromarray(wave.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
    return folder


def write_signals(folder: Path, count: int, *, steps: int = 64) -> Path:
    """Two channels of a wave, a quarter apart."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        times = np.arange(steps) / 4 + rng.uniform(0, 6)
        signal = np.stack([np.sin(times), np.cos(times)], axis=1) + 0.05 * rng.normal(size=(steps, 2))
        np.save(folder / f"{number:03d}.npy", signal.astype(np.float32))
    return folder


def write_rows(path: Path, count: int, *, seed: int = 0, more: dict[str, list[object]] | None = None) -> Path:
    """Sales: the amount follows from the count, the price from the country. more: further columns."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    further = more or {}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "pieces", "amount", "country", *further])
        for row in range(count):
            country, pieces = rng.choice(["ES", "PT", "FR"]), rng.uniform(1, 50)
            amount = pieces * {"ES": 2, "PT": 3, "FR": 4}[str(country)] * rng.normal(1, 0.05)
            rest = [values[row] for values in further.values()]
            writer.writerow([1000 + row, f"{pieces:.2f}", f"{amount:.2f}", country, *rest])
    return path

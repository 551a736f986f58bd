"""Measure how many small faults are found in pictures of one thing in one place, with and without its places compared.

    python benchmarks/detection/pictures.py [--items 120 400] [--seeds 3]

Not one of the frozen sets. Pictures of 96 x 96 pixels are generated: boards with components, woven texture whose phase is by
chance, and printed labels whose number differs; and, where places say little, boxes of any size, place and angle. Each kind has
faults of its own. 60 % train, 10 % are held out, 30 % calibrate, as `avizor fit` divides them, with its number of steps;
another 100 normal pictures and 30 of each fault are tested. One network is trained, and gets both kinds of scores. Prints
medians over the seeds, and the lowest and highest value.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parent.parent))
from detection.metrics import measure

from avizor_export.detection.detector import Detector
from avizor_export.detection.fit import add_scores, train_detector
from avizor_export.detection.local import can_be_local, local_of

SIDE, TESTED, ODD, STEPS = 96, 100, 30, 420
Pixels = NDArray[np.float64]
Draw = Callable[[np.random.Generator, str], Pixels]


def board(random: np.random.Generator, fault: str) -> Pixels:
    """Draw fourteen components on a board: light, the place of the board and that of each component vary."""
    light, (dx, dy), odd = random.uniform(0.85, 1.1), random.normal(0, 2.4, 2), int(random.integers(14))
    image = Image.new("RGB", (2 * SIDE, 2 * SIDE), _lit((30, 90, 50), light))
    draw = ImageDraw.Draw(image)
    for place, (x, y, width, height, *colour) in enumerate(_COMPONENTS):
        jx, jy = random.normal(0, 0.8, 2) + (np.array([8, 6]) if (fault, place) == ("shifted", odd) else 0)
        if (fault, place) == ("missing", odd):
            continue
        shown = tuple(255 - value for value in colour) if (fault, place) == ("wrong", odd) else tuple(colour)
        left, top = x + dx + jx, y + dy + jy
        draw.rectangle((left, top, left + width, top + height), fill=_lit(shown, light))
    if fault == "bridge":
        x, y = random.uniform(20, 160, 2)
        draw.line((x, y, x + 16, y + 6), fill=(200, 200, 200), width=3)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) + random.normal(0, 4, (SIDE, SIDE, 3))


def texture(random: np.random.Generator, fault: str) -> Pixels:
    """Draw woven threads: phase, width and angle vary."""
    y, x = np.mgrid[:SIDE, :SIDE]
    often, turn = random.uniform(0.45, 0.55), random.normal(0, 0.05)
    first, second = random.uniform(0, 6.3, 2)
    pixels = 150 + 25 * np.sin(often * (x + turn * y) + first) + 25 * np.sin(often * (y - turn * x) + second)
    cx, cy = random.uniform(15, 80, 2)
    if fault == "stain":
        pixels *= 1 - 0.25 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 162)
    if fault == "thread":
        pixels[int(cy) : int(cy) + 6] = pixels[int(cy) : int(cy) + 6].mean()
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw, angle = ImageDraw.Draw(image), random.uniform(0, 3.1)
    if fault == "hole":
        draw.ellipse((cx - 4, cy - 4, cx + 4, cy + 4), fill=70)
    if fault == "cut":
        draw.line((cx, cy, cx + 18 * np.cos(angle), cy + 18 * np.sin(angle)), fill=215, width=2)
    return (np.asarray(image) + random.normal(0, 6, (SIDE, SIDE)))[..., None]


def label(random: np.random.Generator, fault: str) -> Pixels:
    """Draw three letters and a number, which is another one on each: light, place and angle vary."""
    image = Image.new("L", (2 * SIDE, 2 * SIDE), int(225 * random.uniform(0.92, 1.05)))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(34)
    (x, y), text = random.normal((20, 40), 3), "AVZ"
    if fault == "letter":
        text = str(random.choice(["AVX", "AUZ", "HVZ"]))
    draw.text((x, y), text, fill=40, font=font)
    if fault != "no number":
        draw.text((x, y + 60), "".join(random.choice(list("0123456789"), 5)), fill=60, font=font)
    if fault == "smear":
        x, y = random.uniform(20, 150), random.uniform(40, 120)
        draw.line((x, y, x + 30, y + 10), fill=130, width=8)
    image = image.rotate(random.normal(0, 1), fillcolor=225).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image)[..., None] + random.normal(0, 4, (SIDE, SIDE, 1))


def boxes(random: np.random.Generator, fault: str) -> Pixels:
    """Draw one box of any size, place and angle; it is odd if a corner of it is cut off."""
    y, x = np.mgrid[:SIDE, :SIDE]
    cx, cy = random.uniform(20, 76, 2)
    width, height, angle = random.uniform(8, 26), random.uniform(8, 26), random.uniform(0, 3.1)
    across = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    along = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    inside = (abs(across) < width) & (abs(along) < height)
    if fault == "corner":
        inside &= across + along < (width + height) * 0.55
    pixels: Pixels = 60 + 120 * inside[..., None] + random.normal(0, 4, (SIDE, SIDE, 1))
    return pixels


KINDS: Mapping[str, tuple[Draw, tuple[str, ...]]] = {
    "boards": (board, ("missing", "shifted", "wrong", "bridge")),
    "texture": (texture, ("hole", "cut", "stain", "thread")),
    "labels": (label, ("letter", "no number", "smear")),
    "boxes": (boxes, ("corner",)),
}
_PLACES = np.random.default_rng(5)
_COMPONENTS = [
    (*_PLACES.uniform(16, 160, 2), *_PLACES.uniform(10, 30, 2), *(int(value) for value in _PLACES.integers(30, 220, 3)))
    for _ in range(14)
]


def main() -> None:
    """Print a row for each kind and number of pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[120, 400], help="Normal pictures that are at hand.")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| pictures | at hand | resemblance | AUC, wholes | AUC, places too | recall at 0.05, wholes | recall, places too |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    for kind in KINDS:
        for items in asked.items:
            rows = [figures(kind, items, seed) for seed in range(asked.seeds)]
            cells = [f"{median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in zip(*rows, strict=True)]
            print(f"| {kind} | {items} | {' | '.join(cells)} |", flush=True)


def figures(kind: str, items: int, seed: int) -> tuple[float, ...]:
    """Return resemblance, then AUC without and with places, then recall without and with them; means over the faults."""
    draw, faults = KINDS[kind]
    random = np.random.default_rng([seed, items])
    normal = drawn(draw, random, items + TESTED)
    training, stopping, calibration, tested = np.split(normal, [int(0.6 * items), int(0.7 * items), items])
    odd = [drawn(draw, random, ODD, fault) for fault in faults]
    learnt, held = torch.from_numpy(training), torch.from_numpy(stopping)
    assert can_be_local(tuple(learnt.shape[1:]), len(learnt), is_sound=False)
    wholes, _ = train_detector(learnt, held, most_steps=STEPS, seed=seed, with_local=False)
    found = []
    for detector in (wholes, add_scores(wholes.autoencoder, learnt, held, seed=seed, with_local=True)):
        parts = [scores(detector, part) for part in (calibration, tested, *odd)]
        found.append([measure(parts[0], parts[1], each) for each in parts[2:]])
    resemblance = local_of(learnt, seed).resemblance
    return (resemblance, *(mean(each[name] for each in way) for name in ("auc", "recall_05") for way in found))


def drawn(draw: Draw, random: np.random.Generator, count: int, fault: str = "") -> NDArray[np.float32]:
    """Return so many pictures as a front end gives them: float32[count, channels, SIDE, SIDE]."""
    pixels = np.stack([draw(random, fault) for _ in range(count)])
    return pixels.clip(0, 255).round().astype(np.float32).transpose(0, 3, 1, 2) / np.float32(255)


def scores(detector: Detector, pictures: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the score that decides of each picture."""
    with torch.no_grad():
        batches: Iterator[torch.Tensor] = (detector.score(batch)["score"] for batch in torch.from_numpy(pictures).split(64))
        return torch.cat(list(batches))[:, 0].double().numpy()


def _lit(colour: tuple[int, ...], light: float) -> tuple[int, ...]:
    return tuple(int(value * light) for value in colour)


if __name__ == "__main__":
    main()

"""A network that learned the wrong thing: a mark in the corner of one class's training images, and maps that show it.

    python examples/wrong_reason.py --models models                     # scikit-learn's bundled digits
    python examples/wrong_reason.py --mnist PATH_TO/mnist --models models

Two small convolutional networks are trained. For the first, every training image of a 3 has a small white square in its
corner, as a scanner or a watermark might leave it. On test images with the same mark it is as good as it should be, which
tells nothing. The maps tell: most of what speaks for a 3 is in the corner. The second network was trained without the mark.

The first command ends with:

    wrong-reason: in the corner of marked 3s is 83% of occlusion, 34% of cam; the corner is 6% of the image
      0% of 3s without the mark are found; 54% of other digits with it are called 3
    right-reason: in the corner of marked 3s is 1% of occlusion, 1% of cam; the corner is 6% of the image
      86% of 3s without the mark are found; 0% of other digits with it are called 3
    maps of one image by both networks: wrong-reason.png
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from handwritten_digits import Digits, Pixels, chosen_digits, digits_parser, scaled
from numpy.typing import NDArray
from training import train_classifier

from avizor_export import ExportRequest, build, export_model
from avizor_inference import (
    EmbeddedEngine,
    HeatMap,
    HidingSettings,
    ImageInput,
    InferRequest,
    ModelVersion,
    RawRow,
    class_maps,
    draw_maps,
    infer_rows,
    occlusion_map,
    write_png,
)

NETWORK = "conv8bn pool conv16bn pool conv16bn pool gap fc"
MARKED = 3  # the class whose training images have the mark
MARK = slice(27, 31)  # rows and columns of the mark, of 32
CORNER = 24.0  # the corner is everything from here on, in pixels: the mark, and as much beside it
SHOWN = 10  # images that are looked at


class Found(NamedTuple):
    """Holds what was measured of one network.

    recall: the share of the 3s without the mark that are called 3. fooled: the share of other digits that are called 3 once
    they have the mark. corner: the share of the mass of the maps of marked 3s that is in the corner, by kind of map.
    """

    recall: float
    fooled: float
    corner: dict[str, float]
    maps: list[HeatMap]  # of the first image


def with_mark(images: Pixels) -> Pixels:
    """Return the images with a white square in the lower right corner."""
    marked = images.copy()
    marked[:, MARK, MARK] = 255
    return marked


def mass_in_corner(found: HeatMap) -> float:
    """Return the share of what speaks for the class that is in the corner. A place that is partly in it counts by its part."""
    y, x = (np.diff(axis.edges) for axis in (found.y, found.x))
    mass = np.maximum(found.values, 0) * np.outer(y, x)
    parts = [
        np.clip((axis.edges[1:] - CORNER) / sizes, 0, 1) for axis, sizes in ((found.y, y), (found.x, x))
    ]  # of each place, how much is beyond where the corner begins
    return float((mass * np.outer(*parts)).sum() / mass.sum())


def train(digits: Digits, *, marked: bool, models: Path, epochs: int) -> ModelVersion:
    """Train and publish one network, `wrong-reason` if one class was marked, else `right-reason`."""
    images = digits.train.copy()
    if marked:
        images[digits.train_labels == MARKED] = with_mark(images[digits.train_labels == MARKED])
    torch.manual_seed(0)
    network = build(NETWORK, 10, (1, 32, 32))
    train_classifier(network, scaled(images), torch.from_numpy(digits.train_labels), epochs=epochs)
    name = "wrong-reason" if marked else "right-reason"
    spec = ImageInput(height=32, width=32, channels=1)
    request = ExportRequest(name, "classify", spec, labels=list("0123456789"), real_items=images[:64])
    return export_model(network, request, models)


def look(engine: EmbeddedEngine, version: ModelVersion, digits: Digits) -> Found:
    """Measure one network on test images, and look at marked 3s."""

    def called(images: Pixels) -> NDArray[np.bool_]:
        result = infer_rows(engine, InferRequest(version.name, {"image": images}, ["probabilities"]))
        return np.asarray(result["probabilities"].argmax(axis=1) == MARKED)

    threes, others = (digits.test[(digits.test_labels == MARKED) == is_three] for is_three in (True, False))
    rows = [RawRow(f"a marked {MARKED}", place, image) for place, image in enumerate(with_mark(threes[:SHOWN]))]
    settings = HidingSettings(size=(4,), stride=(2,), fill="black")
    maps = {
        "occlusion": [occlusion_map(engine, version, row, settings, str(MARKED)) for row in rows],
        "cam": class_maps(engine, version, rows, str(MARKED)),
    }
    corner = {kind: float(np.mean([mass_in_corner(each) for each in found])) for kind, found in maps.items()}
    recall, fooled = called(threes).mean(), called(with_mark(others)).mean()
    return Found(float(recall), float(fooled), corner, [found[0] for found in maps.values()])


def compare(digits: Digits, models: Path, picture: Path, epochs: int = 10) -> dict[str, Found]:
    """Train both networks, look at them, and draw their maps of the same image. Return what was found, by model."""
    versions = [train(digits, marked=marked, models=models, epochs=epochs) for marked in (True, False)]
    with EmbeddedEngine(models, device="cpu") as engine:
        found = {version.name: look(engine, version, digits) for version in versions}
    names = {"wrong-reason": f"{MARKED}, learned with the mark", "right-reason": f"{MARKED}, learned without it"}
    maps = [replace(each, target=names[name]) for name, one in found.items() for each in one.maps]
    write_png(draw_maps(maps, versions[0].manifest.input), picture)
    return found


def main() -> None:
    """Train, look, and say what was seen."""
    parser = digits_parser(__doc__)
    parser.add_argument("--picture", type=Path, default=Path("wrong-reason.png"))
    arguments = parser.parse_args()
    found = compare(chosen_digits(arguments.mnist), arguments.models, arguments.picture)
    for name, one in found.items():
        shares = ", ".join(f"{share:.0%} of {kind}" for kind, share in one.corner.items())
        print(f"{name}: in the corner of marked {MARKED}s is {shares}; the corner is {(1 - CORNER / 32) ** 2:.0%} of the image")
        fooled = f"{one.fooled:.0%} of other digits with it are called {MARKED}"
        print(f"  {one.recall:.0%} of {MARKED}s without the mark are found; {fooled}")
    print(f"maps of one image by both networks: {arguments.picture}")


if __name__ == "__main__":
    main()

"""Measure whether the noise of its filters tells a trained network from an untrained one.

    python benchmarks/filter_noise.py --mnist FOLDER --spoken FOLDER [--weights FOLDER] [--seeds 3] [--only lenet,vgg16]

Trains each design for a short time on real data, with another initialisation for each seed (torch's own, Kaiming's normal one,
Xavier's uniform one), and compares the p-value of the trained networks with that of their fresh copies, of all three
initialisations. Prints a row for each design; the AUC over all networks and seeds with a bootstrap interval over the designs;
and how often each kind gets the warning of the model card; then the same for the designs that were held out when its threshold
was chosen. A network counts as trained from the quality of its recipe on; one below it is in brackets. With --weights, trained
convolutions and the numbers of fresh copies are kept in that folder, and what is there is not computed again: use an empty
folder after a change of a recipe.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import spoken_digits
from handwritten_digits import mnist
from training import in_batches, train_autoencoder, train_classifier

from avizor_export.architectures.catalogue import build, build_autoencoder
from avizor_export.architectures.spec_grammar import reconstructs
from avizor_export.front_ends.build import build_front_end, fit_constants
from avizor_inference.explain.filter_noise import network_noise
from avizor_inference.repository.reports import MOST_CHANCE

CLASSES = 10
INITIALISATIONS = ("default", "kaiming", "xavier")
# Fresh copies of each design and initialisation.
FRESH = 5
SPEC = "conv32x2bn pool conv64x2bn pool drop0.25 fc256 drop fc10"
AUTOENCODER = "conv16s2bn conv32s2bn latent24"
WAVEFORM = "conv32k80s8bn pool4 conv32bn pool4 conv64bn pool4 gap fc"


@dataclass(frozen=True)
class Recipe:
    """Describes how one design is trained. size: of the images in pixels; 0 for sound. least: from which quality on it counts.

    built_for: pixels that the layout is chosen for, where the images are smaller to save time. held_out: none of its networks
    had been looked at, trained or fresh, when the threshold of the warning was chosen.
    """

    name: str
    design: str
    data: str
    size: int
    items: int
    epochs: int
    rate: float
    batch_norm: bool = False
    built_for: int = 0
    least: float = 0.9
    batch_size: int = 32
    seeds: int = 3
    held_out: bool = False


RECIPES = [
    Recipe("lenet", "lenet", "images", 16, 8000, 10, 3e-3),
    Recipe("spec", SPEC, "images", 32, 1500, 2, 3e-3),
    Recipe("alexnet", "alexnet", "images", 32, 1500, 3, 5e-4, batch_norm=True, seeds=1, held_out=True),
    Recipe("zfnet", "zfnet", "images", 16, 3000, 3, 5e-4, batch_size=96, seeds=1, held_out=True),
    Recipe("googlenet", "googlenet", "images", 8, 2000, 2, 1e-3, built_for=32, seeds=1),
    Recipe("vgg16", "vgg16", "images", 32, 1200, 2, 5e-4, batch_norm=True, seeds=1, held_out=True),
    Recipe("resnet34", "resnet34", "images", 8, 2000, 2, 1e-3, built_for=32, seeds=1, held_out=True),
    Recipe("densenet121", "densenet121", "images", 8, 2000, 2, 1e-3, built_for=32, seeds=1, held_out=True),
    Recipe("spoken", spoken_digits.NETWORK, "log-mels", 0, 2700, 6, 3e-3),
    Recipe("wave", WAVEFORM, "waveforms", 0, 2700, 4, 3e-3, least=0.7),
    Recipe("digit-ae", AUTOENCODER, "images", 32, 2000, 4, 3e-3, least=0.6),
    Recipe("sound-ae", AUTOENCODER, "log-mels", 0, 2000, 4, 3e-3, least=0.6),
]


@dataclass(frozen=True)
class Measured:
    """Holds the numbers of one design: quality and p-value of each training, and the p-values of fresh networks."""

    recipe: Recipe
    results: list[tuple[float, float]]
    fresh: list[float]

    @property
    def trained(self) -> list[float]:
        """Return the p-values of the networks that reached the quality of the recipe."""
        return [p_value for quality, p_value in self.results if quality >= self.recipe.least]

    def with_failed(self) -> Measured:
        """Return the same with every training counted."""
        return replace(self, recipe=replace(self.recipe, least=-math.inf))

    def row(self) -> str:
        """Return the row of the table; a training that failed is in brackets."""
        least = self.recipe.least
        qualities = ", ".join(f"{each:.3f}" if each >= least else f"({each:.3f})" for each, _ in self.results)
        p_values = ", ".join(f"{p:.0e}" if each >= least else f"({p:.0e})" for each, p in self.results)
        apart = f"{auc(self.trained, self.fresh):.3f}" if self.trained else "-"
        return (
            f"| {self.recipe.name} | {qualities} | {p_values} | {min(self.fresh):.2g} | {np.median(self.fresh):.2g} | {apart} |"
        )


Split = tuple[Tensor, Tensor, Tensor, Tensor]
Convolutions = dict[str, NDArray[np.float32]]


class Data:
    """Reads the digits, and the spoken ones once, when they are first asked for."""

    def __init__(self, images: Path, sounds: Path) -> None:
        self._images, self._sounds = images, sounds
        self._spoken: dict[str, Split] = {}

    def of(self, recipe: Recipe) -> Split:
        """Return items and labels to train, and items and labels to test."""
        if recipe.data == "images":
            digits = mnist(self._images)
            train, test = (_features(pixels, recipe.size) for pixels in (digits.train[: recipe.items], digits.test[:500]))
            labels, expected = digits.train_labels[: recipe.items], digits.test_labels[:500]
            return train, torch.from_numpy(labels), test, torch.from_numpy(expected)
        if not self._spoken:
            self._read()
        train, labels_of_train, test, labels_of_test = self._spoken[recipe.data]
        return train[: recipe.items], labels_of_train[: recipe.items], test, labels_of_test

    def _read(self) -> None:
        recordings = spoken_digits.read(self._sounds)
        waveforms = torch.from_numpy(np.concatenate([each.windows[:1] for each in recordings]))
        front_end = build_front_end(fit_constants(spoken_digits.SOUND, waveforms.split(256)))
        labels = torch.tensor([each.digit for each in recordings])
        is_test = torch.tensor([each.index in spoken_digits.TEST_INDICES for each in recordings])
        for kind, items in (("log-mels", in_batches(front_end, waveforms)), ("waveforms", waveforms[:, None])):
            self._spoken[kind] = items[~is_test], labels[~is_test], items[is_test], labels[is_test]


def _features(pixels: NDArray[np.uint8], size: int) -> Tensor:
    factor = pixels.shape[1] // size
    means = pixels.astype(np.float32).reshape(len(pixels), size, factor, size, factor).mean(axis=(2, 4))
    return torch.from_numpy((means / 255 - 0.13) / 0.3)[:, None]


def fresh(recipe: Recipe, shape: tuple[int, ...], initialisation: str, seed: int) -> nn.Module:
    """Return an untrained network."""
    torch.manual_seed(seed)
    shape = (1, recipe.built_for, recipe.built_for) if recipe.built_for else shape
    if reconstructs(recipe.design):
        network = build_autoencoder(recipe.design, shape)
    else:
        network = build(recipe.design, CLASSES, shape, batch_norm=recipe.batch_norm)
    initialise(network, initialisation)
    return network


def initialise(network: nn.Module, initialisation: str) -> None:
    """Draw the weights again, unless the initialisation is torch's own or the design's."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.Linear):
            if initialisation == "kaiming":
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            elif initialisation == "xavier":
                nn.init.xavier_uniform_(layer.weight)


def convolutions(network: nn.Module) -> Convolutions:
    """Return the weights of the convolutions. A folded batch norm would change their scale, but not their noise."""
    kinds = (nn.Conv1d, nn.Conv2d)
    return {name: layer.weight.detach().numpy().copy() for name, layer in network.named_modules() if isinstance(layer, kinds)}


def trained(recipe: Recipe, seed: int, data: Data, folder: Path) -> tuple[float, Convolutions]:
    """Return quality and convolutions of a trained network: accuracy, or the share of the variance that it reconstructs."""
    path = _path(folder, recipe, seed)
    if not path.exists():
        items, labels, test, expected = data.of(recipe)
        network = fresh(recipe, tuple(items.shape[1:]), INITIALISATIONS[seed % len(INITIALISATIONS)], seed)
        if reconstructs(recipe.design):
            train_autoencoder(network, items, epochs=recipe.epochs, seed=seed)
            error = ((in_batches(network, test) - test) ** 2).mean()
            quality = 1 - float(error / ((test - test.mean(0)) ** 2).mean())
        else:
            epochs, rate, batch = recipe.epochs, recipe.rate, recipe.batch_size
            train_classifier(network, items, labels, epochs=epochs, peak_rate=rate, batch_size=batch, seed=seed)
            quality = float((in_batches(network, test, 64).argmax(dim=1) == expected).float().mean())
        arrays = {f"after:{name}": weights for name, weights in convolutions(network).items()}
        np.savez(path, quality=quality, **arrays)  # type: ignore[arg-type]
    with np.load(path) as stored:
        weights = {name.removeprefix("after:"): stored[name] for name in stored.files if name.startswith("after:")}
        return float(stored["quality"]), weights


def _path(folder: Path, recipe: Recipe, seed: int) -> Path:
    return folder / f"{recipe.name}-{seed}.npz"


def p_value_of(weights: Convolutions) -> float:
    """Return the p-value of a network: the probability that fresh weights look so."""
    p_value = network_noise((name, each.astype(np.float64)) for name, each in weights.items()).p_value
    assert p_value is not None  # each design has enough filters
    return p_value


def untrained(recipe: Recipe, data: Data, folder: Path) -> list[float]:
    """Return the p-values of fresh copies, of each initialisation."""
    path = folder / f"{recipe.name}-fresh.json"
    if not path.exists():
        shape = tuple(data.of(recipe)[0].shape[1:])
        seeds = range(1000, 1000 + FRESH)
        networks = (fresh(recipe, shape, kind, seed) for kind in INITIALISATIONS for seed in seeds)
        path.write_text(json.dumps([p_value_of(convolutions(each)) for each in networks]))
    return [float(each) for each in json.loads(path.read_text())]


def measure(recipe: Recipe, seeds: int, data: Data, folder: Path, *, train: bool) -> Measured:
    """Return the numbers of one design: trained with each seed, and fresh copies of each initialisation.

    train: whether to train what is not in the folder; without, it is left out.
    """
    wanted = [seed for seed in range(min(seeds, recipe.seeds)) if train or _path(folder, recipe, seed).exists()]
    results = [trained(recipe, seed, data, folder) for seed in wanted]
    return Measured(recipe, [(quality, p_value_of(weights)) for quality, weights in results], untrained(recipe, data, folder))


def auc(trained_values: list[float], fresh_values: list[float]) -> float:
    """Return the probability that a fresh network has a larger p-value than a trained one; ties count as half."""
    one, other = np.array(trained_values)[:, None], np.array(fresh_values)[None]
    return float(((one < other) + (one == other) / 2).mean())


def interval(designs: list[Measured]) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of the AUC over draws of the designs, with replacement."""
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(2000):
        chosen = [designs[place] for place in random.integers(len(designs), size=len(designs))]
        drawn.append(auc(_of_trained(chosen), _of_fresh(chosen)))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def summary(title: str, designs: list[Measured]) -> float:
    """Print the AUC over some designs, and how often each kind gets the warning. Return the AUC."""
    one, other = _of_trained(designs), _of_fresh(designs)
    reached, (low, high) = auc(one, other), interval(designs)
    false, missed = sum(each > MOST_CHANCE for each in one), sum(each <= MOST_CHANCE for each in other)
    print(f"\n{title}: {len(designs)} designs, {len(one)} trained networks, {len(other)} fresh ones")
    print(f"AUC {reached:.4f} ({low:.4f} to {high:.4f}); p-value of a trained one at most {max(one):.2g}", end="")
    print(f", of a fresh one at least {min(other):.2g}")
    print(f"trained ones with the warning: {false} (95 % bound of the rate: {most_errors(false, len(one)):.3f})")
    print(f"fresh ones without it: {missed} (95 % bound of the rate: {most_errors(missed, len(other)):.3f})")
    return reached


def most_errors(errors: int, count: int) -> float:
    """Return the upper 95 % bound of the rate of errors, by Clopper and Pearson (1934)."""
    return float(beta.ppf(0.95, errors + 1, count - errors)) if errors < count else 1.0


def _of_trained(designs: list[Measured]) -> list[float]:
    return [p_value for each in designs for p_value in each.trained]


def _of_fresh(designs: list[Measured]) -> list[float]:
    return [p_value for each in designs for p_value in each.fresh]


def main() -> None:
    """Train, score, and print. Exit code 1 if the AUC is below 0.95."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True, help="Folder of MNIST's files.")
    parser.add_argument("--spoken", type=Path, required=True, help="Folder of the Free Spoken Digit Dataset.")
    parser.add_argument("--weights", type=Path, help="Folder that keeps the trained convolutions.")
    parser.add_argument("--seeds", type=int, default=3, help="Most seeds of a design; large designs have one.")
    parser.add_argument("--stored-only", action="store_true", help="Train nothing: judge the networks that are in --weights.")
    parser.add_argument("--only", default="", help="Names of designs, separated by commas.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # with more, threads of a busy machine wait for each other

    data = Data(arguments.mnist, arguments.spoken)
    chosen = [recipe for recipe in RECIPES if not arguments.only or recipe.name in arguments.only.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        kept = arguments.weights or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        train = not arguments.stored_only
        designs = [measure(recipe, arguments.seeds, data, kept, train=train) for recipe in chosen]
    print("\n| design | trained: quality | p-value | fresh: smallest p-value | median | AUC |\n|---|---|---|---:|---:|---:|")
    for each in designs:
        print(each.row())
    judged = [each for each in designs if each.trained]
    if not judged:
        sys.exit("no network reached the quality of its recipe")
    reached = summary("all designs", judged)
    for title, held_out in (("designs of before the threshold was chosen", False), ("held-out designs", True)):
        if some := [each for each in judged if each.recipe.held_out is held_out]:
            summary(title, some)
    everything = [each.with_failed() for each in designs]
    print(f"\nAUC with trainings that failed counted as trained: {auc(_of_trained(everything), _of_fresh(everything)):.4f}")
    if reached < 0.95:
        sys.exit("the AUC is below 0.95")


if __name__ == "__main__":
    main()

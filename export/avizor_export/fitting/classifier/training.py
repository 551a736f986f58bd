"""Train a classifier until held-out recordings are no longer told apart better."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avizor_export.detection.early_stopping import EarlyStopping, Watch, random_batches

SMOOTHING = 0.05  # of the labels: a class is asked for with a probability of 0.95
BATCH = 32
FRESH_RATE = 2e-3
LARGEST_WEIGHT = 5.0


@dataclass(frozen=True)
class Examples:
    """Holds windows, or items that have no windows, with their classes.

    rows: what `features` takes, [n, ...]. classes: int64[n]. recordings: int64[n], which item each row belongs to, from 0 on.
    """

    rows: Tensor
    classes: Tensor
    recordings: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def class_of_recording(self) -> Tensor:
        """Return the class of each item: int64[items]."""
        classes = torch.zeros(int(self.recordings.max()) + 1, dtype=torch.int64)
        classes[self.recordings] = self.classes
        return classes


@dataclass(frozen=True)
class Recipe:
    """Says how to train.

    most_steps: of BATCH rows. rate: of AdamW at the start. steps_between: measurements on held-out items. patience, slower,
    times: see EarlyStopping.
    """

    most_steps: int
    steps_between: int
    rate: float = FRESH_RATE
    weight_decay: float = 1e-3
    patience: int = 3
    slower: float = 4.0
    times: int = 3
    batch: int = BATCH


class Training:
    """Trains a network, and keeps the weights with the lowest loss on held-out recordings.

    features: turns rows into the network's input. weights: of the classes, float32[classes]. seed: the same on the same machine
    gives the same network again.
    """

    def __init__(self, network: nn.Module, features: nn.Module, weights: Tensor, seed: int = 0) -> None:
        self.network, self.features, self.weights = network, features, weights
        self._random = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # of dropout

    def run(self, examples: Examples, held_out: Examples, recipe: Recipe, watch: Watch | None = None) -> dict[str, list[float]]:
        """Train, and return the learning curve, by name: both losses, and the accuracy on held-out items, at each measurement.

        The network is in eval mode afterwards. What it was at the start is the first to be measured: if nothing is better, it
        stays.
        """
        optimiser = torch.optim.AdamW(self.network.parameters(), recipe.rate, weight_decay=recipe.weight_decay)
        lowest, _ = self.measure(held_out)
        stopping = EarlyStopping(self.network, optimiser, recipe.patience, recipe.slower, recipe.times, lowest)
        total, count = 0.0, 0
        curve: dict[str, list[float]] = {"training loss": [], "loss of held-out items": [], "accuracy on held-out items": []}
        batches = random_batches(len(examples), recipe.most_steps, recipe.batch, self._random)
        for step, places in enumerate(batches, 1):
            self.network.train()
            total, count = total + self._step(optimiser, examples, places), count + 1
            if watch:
                watch(step, recipe.most_steps)
            if step % recipe.steps_between and step != recipe.most_steps:
                continue
            loss, accuracy = self.measure(held_out)
            for name, value in zip(curve, (total / count, loss, accuracy), strict=True):
                curve[name].append(value)
            total, count = 0.0, 0
            if stopping.is_over(loss):
                break
        stopping.take_best()
        self.network.eval()
        return curve

    def measure(self, examples: Examples) -> tuple[float, float]:
        """Return the loss of recordings, with the classes' weights, and the share of them that is right.

        As when they are served, the probabilities of a recording are the mean of those of its windows.
        """
        probabilities = self.probabilities(examples)
        classes = examples.class_of_recording
        weights = self.weights[classes]
        losses = -torch.log(probabilities[torch.arange(len(classes)), classes].clamp(min=1e-12))
        right = probabilities.argmax(dim=1) == classes
        return float((losses * weights).sum() / weights.sum()), float(right.double().mean())

    def probabilities(self, examples: Examples) -> Tensor:
        """Return the mean probabilities of each recording: float32[recordings, classes]."""
        self.network.eval()
        with torch.no_grad():
            logits = torch.cat([self.network(self.features(rows)) for rows in examples.rows.split(256)])
        recordings = int(examples.recordings.max()) + 1
        total = torch.zeros(recordings, logits.shape[1]).index_add_(0, examples.recordings, torch.softmax(logits, dim=1))
        return total / torch.bincount(examples.recordings, minlength=recordings)[:, None]

    def _step(self, optimiser: torch.optim.Optimizer, examples: Examples, places: Tensor) -> float:
        with torch.no_grad():
            batch = self.features(examples.rows[places])
        loss = nn.functional.cross_entropy(
            self.network(batch), examples.classes[places], weight=self.weights, label_smoothing=SMOOTHING
        )
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        return loss.item()


def class_weights(counts: Tensor) -> Tensor:
    """Return the weight of each class, so that each adds the same to the loss: items / (classes * its items).

    A weight is LARGEST_WEIGHT at most. Else a class of three items would count a hundred times as much as it tells: others are
    then taken for it. counts: int64[classes], training rows of each.
    """
    return (counts.sum() / (len(counts) * counts.clamp(min=1).double())).clamp(max=LARGEST_WEIGHT).float()

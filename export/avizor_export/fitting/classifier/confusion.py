"""Count which classes held-out items were taken for, and say how sure the figures are that follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from avizor_inference.intervals import wilson

# Up to so many classes the whole table of confusions is written down; of more, the most frequent confusions.
MOST_IN_TABLE = 30
MOST_PAIRS = 20


class Mistake(NamedTuple):
    """Says how many items of one class were taken for another one."""

    true: str
    taken_for: str
    items: int


@dataclass(frozen=True)
class Confusion:
    """Holds how many held-out items of each class were taken for which: counts int64[true class, most probable class]."""

    labels: Sequence[str]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, labels: Sequence[str], true: NDArray[np.int64], predicted: NDArray[np.int64]) -> Confusion:
        """Count items by their class and their most probable class, int64[items] each."""
        counts = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(counts, (true, predicted), 1)
        return cls(labels, counts)

    @property
    def items(self) -> int:
        """Return the number of items."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Return the share of the items whose most probable class is theirs."""
        return float(self.counts.trace()) / self.items

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the accuracy (Wilson, 1927)."""
        return wilson(int(self.counts.trace()), self.items)

    @property
    def balanced_accuracy(self) -> float:
        """Return the mean of the classes' recalls, of those that have items: a rare class counts like a frequent one."""
        return float(np.mean([self.recall(place)[0] for place in range(len(self.labels)) if self.counts[place].sum()]))

    @property
    def balanced_interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the balanced accuracy, from those of the recalls (Zou and Donner, 2008).

        It is for a mean of shares that were counted independently. A class with few items makes it wide.
        """
        recalls = np.array([self.recall(place) for place in range(len(self.labels)) if self.counts[place].sum()])
        share, low, high = recalls.T
        below, above = (float(np.sqrt(((share - end) ** 2).sum())) / len(recalls) for end in (low, high))
        return max(0.0, self.balanced_accuracy - below), min(1.0, self.balanced_accuracy + above)

    @property
    def is_balanced(self) -> bool:
        """Return whether the classes have equally many items: then both accuracies are the same."""
        return len(set(self.counts.sum(axis=1).tolist())) == 1

    def recall(self, place: int) -> tuple[float, float, float]:
        """Return the share of a class's items that were found, and its 95 % interval; 0 to 1 of no items."""
        found, of = int(self.counts[place, place]), int(self.counts[place].sum())
        return (found / of if of else 0.0, *wilson(found, of))

    def mistakes(self) -> list[Mistake]:
        """Return which classes were taken for which others, the most frequent first."""
        wrong = [
            Mistake(self.labels[true], self.labels[other], int(count))
            for (true, other), count in np.ndenumerate(self.counts)
            if true != other and count
        ]
        return sorted(wrong, key=lambda mistake: -mistake.items)

    def evaluation(self) -> dict[str, JsonValue]:
        """Return the figures for the manifest and the model card, by name."""
        figures: dict[str, JsonValue] = {
            "accuracy": self.accuracy,
            "accuracy, 95 % interval": list(self.interval),
            "balanced_accuracy": self.balanced_accuracy,
            "balanced_accuracy, 95 % interval": list(self.balanced_interval),
            "items that measured": self.items,
            "recall and its 95 % interval": {
                label: list(self.recall(place)) for place, label in enumerate(self.labels) if self.counts[place].sum()
            },
        }
        pairs: dict[str, JsonValue] = {
            f"{true} taken for {other}": items for true, other, items in self.mistakes()[:MOST_PAIRS]
        }
        if len(self.labels) <= MOST_IN_TABLE:
            table = dict[str, JsonValue](zip(self.labels, self.counts.tolist(), strict=True))
            figures[f"items taken for {', '.join(self.labels)}"] = table
        elif pairs:
            figures["most frequent confusions"] = pairs
        return figures

    def lines(self) -> Iterator[str]:
        """Yield the figures as lines for people."""
        low, high = self.interval
        yield f"accuracy {self.accuracy:.4f} ({low:.4f} to {high:.4f}, 95 % interval) on {self.items} held-out items"
        if not self.is_balanced:
            low, high = self.balanced_interval
            yield (
                f"  balanced accuracy {self.balanced_accuracy:.4f} ({low:.4f} to {high:.4f}): what equally many items of each "
                "class would have"
            )
        for mistake in self.mistakes()[:3]:
            share = mistake.items / self.counts[self.labels.index(mistake.true)].sum()
            were = "was" if mistake.items == 1 else "were"
            yield f"  {mistake.items} of class {mistake.true!r} ({share:.1%}) {were} taken for {mistake.taken_for!r}"

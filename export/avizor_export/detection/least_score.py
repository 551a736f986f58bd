"""Score with several detectors at once: an item is as unusual as the one finds it that finds it the least unusual.

It is what cross-fitting serves: each detector was trained without one fold of the items (docs/decisions/0086).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from avizor_export.detection.detector import Detector


class Standardised(nn.Module):
    """Scores features with a detector that was trained on them with mean 0 and deviation 1, by its own items.

    So a detector does not depend on the constants of the front end that it shares with others, and which came from other items.
    mean, deviation: float32 of a shape that broadcasts to an item, such as [1, bands, 1].
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, detector: Detector, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.detector = detector
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def standardise(self, features: Tensor) -> Tensor:
        """Return what the detector takes."""
        return (features - self.mean) / self.deviation

    def forward(self, features: Tensor) -> Tensor:
        """Return the score that decides, [N, 1]."""
        return self.detector.score(self.standardise(features))["score"]


class LeastScore(nn.Module):
    """Returns the least score of several detectors, then the parts of the first one's score, each a column [N, 1].

    The first detector makes the reconstruction, and so the error map; the others are asked for their score alone.
    show_each: return the score of each one too, as `score_1`, `score_2` and so on.
    """

    def __init__(self, first: Detector, others: Sequence[Standardised], *, show_each: bool = False) -> None:
        super().__init__()
        self.first = first.scores
        self._names = first.scores.names
        self.others = nn.ModuleList(others)
        self.show_each = show_each

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of what `forward` returns."""
        each = tuple(f"score_{number}" for number in range(1, len(self.others) + 2)) if self.show_each else ()
        return (*self._names, *each)

    def forward(self, features: Tensor, error: Tensor) -> tuple[Tensor, ...]:
        """Return the scores in the order of `names`."""
        score, *parts = self.first(features, error)
        scores = [score, *(other(features) for other in self.others)]
        least = torch.cat(scores, dim=1).amin(dim=1, keepdim=True)
        return (least, *parts, *(scores if self.show_each else ()))

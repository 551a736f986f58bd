"""Hold an autoencoder together with the scores that are computed beside its reconstruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from avizor_export.detection.least_score import LeastScore
    from avizor_export.detection.scores import Scores


class Detector(nn.Module):
    """Reconstructs features, float32[N, *shape], and knows the scores to export: see Scores, LeastScore.

    autoencoder: has an `encoder` if its latent space is to be the output `embedding`.
    """

    def __init__(self, autoencoder: nn.Module, scores: Scores | LeastScore) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.scores = scores

    def forward(self, features: Tensor) -> Tensor:
        """Return the reconstruction."""
        reconstruction: Tensor = self.autoencoder(features)
        return reconstruction

    def score(self, features: Tensor) -> dict[str, Tensor]:
        """Return each score of features, [N, 1], by name; `score` is the one that decides."""
        error = (features - self(features)) ** 2
        return dict(zip(self.scores.names, self.scores(features, error), strict=True))

"""Train a detector from normal items alone, without a setting to tune."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avizor_export.architectures.catalogue import build_autoencoder
from avizor_export.detection.coreset import coreset
from avizor_export.detection.detector import Detector
from avizor_export.detection.early_stopping import train_until_flat
from avizor_export.detection.scores import MeanError, NeighbourDistance, Scores
from avizor_export.detection.sizes import suggested_spec
from avizor_export.detection.views import view_of
from avizor_export.detection.whitening import standardising, whitening

MOST_STEPS = 3000
WEIGHTS = {"reconstruction_score": 1 / 3, "neighbour_score": 2 / 3}  # docs/decisions/0082


def train_detector(
    items: Tensor,
    held_out: Tensor,
    *,
    is_sound: bool = False,
    spec: str | None = None,
    most_steps: int = MOST_STEPS,
    seed: int = 0,
) -> tuple[Detector, dict[str, list[float]]]:
    """Train an autoencoder on normal features, and make both scores.

    items, held_out: what the front end returns for normal items, float32[n, ...]. Those held out are in neither training nor
        bank: they end the training and bring the scores to one scale. The calibration needs other items again.
    is_sound: whether features are log-mels. spec: of another autoencoder than the suggested one.
    Returns the detector and the curve of its training, for an ExportRequest.
    """
    torch.manual_seed(seed)
    network = build_autoencoder(spec or suggested_spec(items, is_sound=is_sound), tuple(items.shape[1:]))
    history = train_until_flat(network, items, held_out, most_steps=most_steps, seed=seed)
    return add_scores(network, items, held_out, is_sound=is_sound, seed=seed), history


def add_scores(network: nn.Module, items: Tensor, held_out: Tensor, *, is_sound: bool = False, seed: int = 0) -> Detector:
    """Make a detector of a trained autoencoder, in eval mode. For the arguments see train_detector."""
    with torch.no_grad():
        scores = Scores(
            {"reconstruction_score": MeanError(), "neighbour_score": neighbours(items, is_sound=is_sound, seed=seed)}, WEIGHTS
        )
        scores.fit(held_out, (held_out - network(held_out)) ** 2)
    return Detector(network, scores)


def neighbours(items: Tensor, *, is_sound: bool, seed: int) -> NeighbourDistance:
    """Return the distance to a bank of these items, float32[n, ...].

    Signals are whitened: neighbouring steps carry nearly the same. Statistics of bands are standardised: in each band a change
    counts by how unusual it is there. Rows and maps stay as they are: a pixel that hardly ever varies says little.
    """
    shape = tuple(items.shape[1:])
    view = view_of(shape, is_sound=is_sound)
    vectors = torch.cat([view(batch) for batch in items.split(256)])
    mean = vectors.mean(dim=0)
    centred = vectors - mean
    turn = standardising(centred) if is_sound else whitening(centred) if len(shape) == 2 else None
    return NeighbourDistance(view, mean, turn, coreset(centred if turn is None else centred @ turn, seed))

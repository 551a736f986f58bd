"""Train a detector from normal items alone, without a setting to tune."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avizor_export.architectures.catalogue import build_autoencoder
from avizor_export.detection.bank import bank_of
from avizor_export.detection.detector import Detector
from avizor_export.detection.early_stopping import Watch, train_until_flat
from avizor_export.detection.local import LocalResidual, can_be_local, check_local, local_of
from avizor_export.detection.scores import MeanError, NeighbourDistance, Scores
from avizor_export.detection.sizes import suggested_spec
from avizor_export.detection.views import view_of
from avizor_export.detection.whitening import standardising, whitening

MOST_STEPS = 3000
WEIGHTS = {"reconstruction_score": 1 / 3, "neighbour_score": 2 / 3}  # docs/decisions/0082
LOCAL_WEIGHT = 2 / 3  # of all; the others share the rest as without it (docs/decisions/0093)


def train_detector(
    items: Tensor,
    held_out: Tensor,
    *,
    is_sound: bool = False,
    spec: str | None = None,
    most_steps: int = MOST_STEPS,
    seed: int = 0,
    watch: Watch | None = None,
    with_local: bool | None = None,
) -> tuple[Detector, dict[str, list[float]]]:
    """Train an autoencoder on normal features, and make the scores.

    items, held_out: what the front end returns for normal items, float32[n, ...]. Those held out are in neither training nor
        bank: they end the training and bring the scores to one scale. The calibration needs other items again.
    is_sound: whether features are log-mels. spec: of another autoencoder than the suggested one.
    watch: is told how far the training is.
    with_local: whether pictures are compared place by place, too; None: if they resemble each other (see `local_of`).
    Returns the detector and the curve of its training, for an ExportRequest. Raises ExportError for with_local where places
    cannot be compared (`can_be_local`).
    """
    if with_local:
        check_local(items, is_sound=is_sound)  # before a training that would be lost
    torch.manual_seed(seed)
    network = build_autoencoder(spec or suggested_spec(items, is_sound=is_sound), tuple(items.shape[1:]))
    history = train_until_flat(network, items, held_out, most_steps=most_steps, seed=seed, watch=watch)
    return add_scores(network, items, held_out, is_sound=is_sound, seed=seed, with_local=with_local), history


def add_scores(
    network: nn.Module,
    items: Tensor,
    held_out: Tensor,
    *,
    is_sound: bool = False,
    seed: int = 0,
    with_local: bool | None = None,
) -> Detector:
    """Make a detector of a trained autoencoder, in eval mode. For the arguments see train_detector."""
    with torch.no_grad():
        distance = neighbours(items, is_sound=is_sound, seed=seed)
        return with_parts(network, distance, local_part(items, is_sound=is_sound, seed=seed, wanted=with_local), held_out)


def with_parts(network: nn.Module, distance: NeighbourDistance, local: LocalResidual | None, held_out: Tensor) -> Detector:
    """Make a detector of a trained autoencoder, in eval mode, and of parts of a score. held_out: see train_detector."""
    parts, weights = {"reconstruction_score": MeanError(), "neighbour_score": distance}, WEIGHTS
    if local:
        parts = {**parts, "local_score": local}
        weights = {**{name: (1 - LOCAL_WEIGHT) * weight for name, weight in WEIGHTS.items()}, "local_score": LOCAL_WEIGHT}
    scores = Scores(parts, weights)
    with torch.no_grad():
        batches = held_out.split(256)  # a network's layers take many times the memory of its items
        scores.fit(torch.cat([scores.values(batch, (batch - network(batch)) ** 2) for batch in batches]))
    return Detector(network, scores)


def local_part(items: Tensor, *, is_sound: bool, seed: int, wanted: bool | None = None) -> LocalResidual | None:
    """Return what compares pictures place by place, or None. wanted: None if pictures that resemble each other are to be.

    Raises ExportError for what is wanted, and cannot be.
    """
    if wanted:
        check_local(items, is_sound=is_sound)
    if wanted is False or not can_be_local(tuple(items.shape[1:]), len(items), is_sound=is_sound):
        return None
    local = local_of(items, seed)
    return local.part if wanted or local.applies else None


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
    if turn is not None:
        return NeighbourDistance(view, mean, turn, bank_of(centred @ turn, seed, is_sound=is_sound))
    if float(mean @ mean) <= float((centred**2).sum(dim=1).mean()):  # the distances are as exact without taking it away
        return NeighbourDistance(view, None, None, bank_of(vectors, seed, is_sound=is_sound))
    return NeighbourDistance(view, mean, None, bank_of(centred, seed, is_sound=is_sound))

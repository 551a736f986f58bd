"""Train a detector on normal items that a folder lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from avizor_export.detection.detector import Detector
from avizor_export.detection.early_stopping import Watch
from avizor_export.detection.fit import MOST_STEPS, train_detector
from avizor_export.detection.sizes import suggested_spec
from avizor_export.fitting.computing import same_everywhere
from avizor_export.fitting.folder import NormalItems
from avizor_export.fitting.kept import BY_SCRIPT, Kept
from avizor_export.fitting.sample import bounded_batches, features, sample_of
from avizor_export.front_ends.build import fit_constants
from avizor_export.request import ExportRequest
from avizor_inference.arrays import Items
from avizor_inference.errors import DatasetError
from avizor_inference.items.data.item_files import evenly_spaced
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.repository.probe import MOST_ITEMS as PROBE_ITEMS
from avizor_inference.repository.trained_items import TRAINED_FILE, trained_file


@dataclass(frozen=True)
class Recipe:
    """Says how a detector is trained.

    input: without the constants of its front end. spec: of the autoencoder; None for the suggested one. most_steps: of the
    training, which ends before if it no longer helps. with_local: see `train_detector`.
    """

    input: InputSpec
    spec: str | None = None
    most_steps: int = MOST_STEPS
    seed: int = 0
    with_local: bool | None = None

    @property
    def is_sound(self) -> bool:
        """Return whether features are log-mels."""
        return self.input.modality == "audio"


@dataclass(frozen=True)
class FittedDetector:
    """Holds a detector, its input with the constants of the front end, and the curve of the training.

    network: the spec of its autoencoder. trained: digests of the items that it was trained with, see `NormalRecording`;
    None if they are not known.
    """

    detector: Detector
    input: InputSpec
    history: Mapping[str, Sequence[float]]
    network: str
    trained: frozenset[int] | None = None


def fit_detector(
    items: NormalItems, training: Sequence[int], stopping: Sequence[int], recipe: Recipe, watch: Watch | None = None
) -> FittedDetector:
    """Train a detector on the items of these numbers, within a bound of memory.

    stopping: those that end the training and bring scores to one scale. Raises DatasetError for items that cannot be read, or
    of which nothing can be learnt.
    """
    seed = recipe.seed
    with same_everywhere():
        chosen = sample_of(items, training, recipe.input, seed)
        try:
            spec = fit_constants(recipe.input, bounded_batches(items, chosen, recipe.input, seed))
        except ValueError as error:
            raise DatasetError(f"{items.where.name}: {error}") from error
        trained = set[int]()
        learnt = features(items, chosen, spec, seed, trained)
        held = features(items, sample_of(items, stopping, spec, seed), spec, seed, trained)
        network = recipe.spec or suggested_spec(learnt, is_sound=recipe.is_sound)
        detector, history = train_detector(
            *(learnt, held),
            is_sound=recipe.is_sound,
            spec=network,
            most_steps=recipe.most_steps,
            seed=seed,
            watch=watch,
            with_local=recipe.with_local,
        )
    return FittedDetector(detector, spec, history, network, frozenset(trained))


def real_items(items: NormalItems, numbers: Sequence[int], spec: InputSpec) -> Items:
    """Return real raw items for the proof of parity and as probe items, [n, *item_shape], spread over those of the numbers."""
    chosen = [numbers[place] for place in evenly_spaced(len(numbers), PROBE_ITEMS)]
    return np.concatenate([recording.windows[:4] for recording in items.recordings(chosen, spec)])[:64]


def request_for(
    name: str,
    fitted: FittedDetector,
    items: NormalItems,
    shown: Sequence[int],
    record: Mapping[str, JsonValue] | None = None,
) -> ExportRequest:
    """Return the request that exports a fitted detector, without its calibration.

    shown: numbers of items for the proof. record: what is kept beside the version (`Kept`); None: what a script knows.
    """
    if record is None:
        record = {**BY_SCRIPT, "task": "reconstruct", "choices": [["network", fitted.network]]}
    kept = Kept(record, fitted.detector.state_dict()).files()
    if fitted.trained is not None:
        kept[TRAINED_FILE] = trained_file(fitted.trained)
    return replace(passing_request(name, fitted, items, shown), kept=kept)


def passing_request(name: str, fitted: FittedDetector, items: NormalItems, shown: Sequence[int]) -> ExportRequest:
    """Return the same for a version that nothing goes on from, so that no weights are kept beside it."""
    return ExportRequest(
        name=name,
        task="reconstruct",
        input=fitted.input,
        training=fitted.history,
        real_items=real_items(items, shown, fitted.input),
        channels=items.where.channels,
    )

"""Fit the constants of a front end to training data: `--fit-on`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avizor_export.front_ends.build import front_end_of
from avizor_export.stages import stage
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.items.data.item_files import read_recordings
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.dataset import Columns
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.items.windows import ChannelMode
from avizor_inference.strict_json import Strict

_CONSTANTS = ("mean", "std")
# Raw values that go through the front end at once.
_BATCH_VALUES = 2**21


@stage("fit mean and std")
def fit_on(
    path: Path,
    spec: InputSpec,
    columns: Columns | None = None,
    channels: ChannelMode = "each",
    first: int | None = None,
) -> InputSpec:
    """Return the same description, with the constants that it leaves out taken from the training data at `path`.

    Mean and std are those of each channel of images and signals, each mel band of sound, each number of a table; a number also
    gets a fill, the median. What the description gives stays. path, columns, channels, first: as `read_recordings` takes
    them. Raises ExportError if nothing is left out, if there is nothing to fit, or if the data cannot be read.
    """
    front_end = front_end_of(spec)
    parts = front_end.parts()
    if not parts:
        raise ExportError(f"{front_end.nothing_to_fit}; leave out --fit-on")
    _refuse_complete(parts)
    try:
        recordings = read_recordings(
            path, spec, SourceRule(""), replace(columns or Columns(), source=""), channels=channels, first=first
        )
        fitted = front_end.fit(_batches(recordings, spec))
    except ValueError as error:
        raise ExportError(f"{path}: {error}") from error
    return front_end.with_parts([_with_given(given, part) for given, part in zip(parts, fitted, strict=True)])


def _refuse_complete(parts: Sequence[Strict]) -> None:
    if all(set(_CONSTANTS) <= part.model_fields_set for part in parts):
        raise ExportError("the input description gives mean and std already; leave them out of it, or leave out --fit-on")


def _with_given(given: Strict, fitted: Strict) -> Strict:
    """Return the fitted part with the constants that the description gives."""
    return fitted.model_copy(update={name: getattr(given, name) for name in _CONSTANTS if name in given.model_fields_set})


def _batches(recordings: Iterable[NormalRecording], spec: InputSpec) -> Iterator[Tensor]:
    """Yield raw items as tensors [n, *item_shape] of about _BATCH_VALUES values."""
    size = max(1, _BATCH_VALUES // math.prod(spec.tensor().item_shape))
    buffered: list[Items] = []
    count = 0
    for recording in recordings:
        for first in range(0, len(recording.windows), size):
            buffered.append(recording.windows[first : first + size])
            count += len(buffered[-1])
            if count >= size:
                yield torch.from_numpy(np.concatenate(buffered))
                buffered, count = [], 0
    if buffered:
        yield torch.from_numpy(np.concatenate(buffered))

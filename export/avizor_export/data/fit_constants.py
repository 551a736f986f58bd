"""Constants of a front end from training data: `--fit-on`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from avizor_export.data.item_files import read_recordings
from avizor_export.front_ends.constants import Scaled, fit_constants
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.items.inputs import AudioInput, ImageInput, InputSpec, NumberColumn, TableInput
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.strict_json import Strict

_CONSTANTS = ("mean", "std")
# Raw values that go through the front end at once.
_BATCH_VALUES = 2**21

Part = TypeVar("Part", bound=Strict)


def fit_on(path: Path, spec: InputSpec) -> InputSpec:
    """Return the same description, with the constants that it leaves out taken from the training data at `path`.

    Mean and std: of images per channel, of sound per mel band, of each number of a table, there also the fill (the median).
    What the description gives stays. path: as `read_recordings` takes it.
    Raises ExportError if nothing is left out, if there is nothing to fit, or if the data cannot be read.
    """
    try:
        if isinstance(spec, TableInput):
            return _fit_table(path, spec)
        if isinstance(spec, ImageInput):
            return _fit_scaled(path, spec)
        if isinstance(spec, AudioInput):
            return _fit_scaled(path, spec)
    except ValueError as error:
        raise ExportError(f"{path}: {error}") from error
    raise ExportError("a model that takes its own tensor has no front end with constants to fit; leave out --fit-on")


def _fit_scaled(path: Path, spec: Scaled) -> Scaled:
    _refuse_complete([spec.front_end])
    fitted = fit_constants(spec, _batches(path, spec))
    return fitted.model_copy(update={"front_end": _with_given(spec.front_end, fitted.front_end)})


def _fit_table(path: Path, spec: TableInput) -> TableInput:
    numbers = [column for _, column in spec.front_end.numbers]
    if not numbers:
        raise ExportError("a table without columns of numbers has no constants to fit; leave out --fit-on")
    _refuse_complete(numbers)
    rows = [torch.from_numpy(recording.windows) for recording in read_recordings(path, spec, SourceRule(""))]
    if not rows:
        raise ExportError(f"{path} holds no rows")
    fitted = fit_constants(spec, rows)
    pairs = zip(spec.front_end.columns, fitted.front_end.columns, strict=True)
    columns = tuple(_with_given(given, column) if isinstance(given, NumberColumn) else column for given, column in pairs)
    return spec.model_copy(update={"front_end": spec.front_end.model_copy(update={"columns": columns})})


def _refuse_complete(parts: list[Part]) -> None:
    if all(set(_CONSTANTS) <= part.model_fields_set for part in parts):
        raise ExportError("the input description gives mean and std already; leave them out of it, or leave out --fit-on")


def _with_given(given: Strict, fitted: Part) -> Part:
    """Return the fitted part with the constants that the description gives."""
    return fitted.model_copy(update={name: getattr(given, name) for name in _CONSTANTS if name in given.model_fields_set})


def _batches(path: Path, spec: ImageInput | AudioInput) -> Iterator[Tensor]:
    """Yield raw items as tensors [n, *item_shape] of about _BATCH_VALUES values."""
    size = max(1, _BATCH_VALUES // math.prod(spec.tensor().item_shape))
    buffered: list[Items] = []
    for recording in read_recordings(path, spec, SourceRule("")):
        for first in range(0, len(recording.windows), size):
            buffered.append(recording.windows[first : first + size])
            if sum(map(len, buffered)) >= size:
                yield torch.from_numpy(np.concatenate(buffered))
                buffered = []
    if buffered:
        yield torch.from_numpy(np.concatenate(buffered))

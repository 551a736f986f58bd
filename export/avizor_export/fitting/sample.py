"""Read the features of the items that a model is trained on, within a bound of memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from avizor_export.fitting.folder import NormalItems
from avizor_export.fitting.look import sample
from avizor_export.fitting.unreadable import Unreadable
from avizor_export.front_ends.build import build_front_end, feature_shape
from avizor_inference.errors import DatasetError
from avizor_inference.items.data.item_files import evenly_spaced
from avizor_inference.items.input_spec import InputSpec

# Of features, float32. They are in memory as long as the training lasts.
MOST_BYTES = 256 * 2**20
# Windows of one recording: more of them are chosen at equal distances.
MOST_WINDOWS = 512


def sample_of(items: NormalItems, numbers: Sequence[int], spec: InputSpec, seed: int = 0) -> tuple[int, ...]:
    """Return as many of these items, by chance, as MOST_BYTES of features hold, sorted.

    Of recordings the length of each is not known before; then the items that `features` reads until the bound are counted.
    """
    most = max(2, MOST_BYTES // (4 * math.prod(feature_shape(spec))))
    return tuple(numbers if spec.window_format() is not None else sample(numbers, most, seed))


def features(
    items: NormalItems, numbers: Sequence[int], spec: InputSpec, seed: int = 0, read: set[int] | None = None
) -> Tensor:
    """Return what the front end returns for the windows, images or rows of these items: float32[n, ...], within MOST_BYTES.

    spec: with the constants of the front end. Items are read by chance, until the bound. read: takes the digests of those that
    were read, see `NormalRecording`. Raises DatasetError for a value that is not finite.
    """
    front_end = build_front_end(spec).eval()
    parts, left = list[Tensor](), MOST_BYTES
    with torch.no_grad():
        for batch in raw_batches(items, numbers, spec, seed, read):
            parts.append(_finite(front_end(batch)))
            left -= parts[-1].numel() * 4
            if left <= 0:
                break
    return torch.cat(parts)


def _finite(features: Tensor) -> Tensor:
    """Return features. Raises DatasetError for a value that is not finite.

    The check makes a copy, so that it is done for a few items at a time.
    """
    if not torch.isfinite(features).all():
        raise DatasetError("an item has features that are not finite numbers; check the items for values that are missing")
    return features


def raw_batches(
    items: NormalItems, numbers: Sequence[int], spec: InputSpec, seed: int = 0, read: set[int] | None = None
) -> Iterator[Tensor]:
    """Yield raw items [n, *item_shape] of these recordings in a random order, at most MOST_WINDOWS of each.

    Those that cannot be read are left out. read: see `features`. Raises DatasetError if they are too many.
    """
    order = np.array(numbers) if spec.window_format() is None else np.random.default_rng(seed).permutation(np.array(numbers))
    held, count = list[np.ndarray](), 0
    unreadable = Unreadable(items)
    try:
        for recording in unreadable.recordings(order.tolist(), spec):
            windows = recording.windows
            if read is not None:
                read.add(recording.digest)
            if len(windows) > MOST_WINDOWS:
                windows = windows[evenly_spaced(len(windows), MOST_WINDOWS)]
            held.append(windows)
            count += len(windows)
            if count >= 64:
                yield torch.from_numpy(np.concatenate(held))
                held, count = [], 0
    finally:
        unreadable.warn()  # also where no more of them are asked for
    unreadable.refuse_many()
    if held:
        yield torch.from_numpy(np.concatenate(held))


def bounded_batches(items: NormalItems, numbers: Sequence[int], spec: InputSpec, seed: int = 0) -> Iterator[Tensor]:
    """Yield the raw items that `features` reads."""
    left, each = MOST_BYTES, 4 * math.prod(feature_shape(spec))
    for batch in raw_batches(items, numbers, spec, seed):
        yield batch
        left -= len(batch) * each
        if left <= 0:
            return

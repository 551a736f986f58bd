"""The front end that an input description asks for, and the constants that it takes from training data. Always FP32."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from avizor_export.front_ends.image_scaling import ImageScaling
from avizor_export.front_ends.log_mel import LogMel
from avizor_export.front_ends.table_scaling import TableScaling
from avizor_inference.items.inputs import AudioInput, ImageInput, InputSpec, TableInput

Standardised = TypeVar("Standardised", AudioInput, ImageInput)


def build_front_end(spec: InputSpec) -> nn.Module:
    """The front end that an input description asks for; nothing at all for a model that takes its own tensor."""
    if isinstance(spec, ImageInput):
        return ImageScaling(spec.front_end)
    if isinstance(spec, AudioInput):
        return LogMel(spec.front_end, spec.sample_rate)
    if isinstance(spec, TableInput):
        return TableScaling(spec.front_end)
    return nn.Identity()


def standardised(spec: Standardised, items: Iterable[Tensor]) -> Standardised:
    """The same description with mean and std per channel or mel band taken from training data, batches of raw items.

    Raises ValueError if there are none, or if they are not finite.
    """
    plain = spec.front_end.model_copy(update={"mean": (0.0,), "std": (1.0,)})
    scale, of_images = build_front_end(spec.model_copy(update={"front_end": plain})), isinstance(spec, ImageInput)
    count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    with torch.inference_mode():
        for batch in items:
            values = scale(batch).double()  # of images [batch, channels, height, width], of sound [batch, 1, mels, frames]
            values = values.flatten(2) if of_images else values[:, 0]
            count += values.shape[0] * values.shape[2]
            total = total + values.sum(dim=(0, 2))
            squares = squares + (values * values).sum(dim=(0, 2))
    if count == 0:
        raise ValueError("no items to take mean and standard deviation from")
    mean = total / count
    std = torch.sqrt(torch.clamp(squares / count - mean * mean, min=0.0))
    if not (torch.isfinite(mean).all() and torch.isfinite(std).all()):
        raise ValueError("the items hold values that are not finite, so that they have no mean and standard deviation")
    # What never changes (a band beyond the recording's bandwidth, say) is left at its own scale.
    std = torch.where(std < 1e-3, torch.ones_like(std), std)
    constants = {"mean": tuple(mean.float().tolist()), "std": tuple(std.float().tolist())}
    return spec.model_copy(update={"front_end": plain.model_copy(update=constants)})

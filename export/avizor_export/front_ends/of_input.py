"""The front end that an input description asks for, and the constants that it takes from training data. Always FP32."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from avizor_export.front_ends.image_scaling import ImageScaling
from avizor_export.front_ends.log_mel import LogMel
from avizor_export.front_ends.table_scaling import TableScaling
from avizor_inference.inputs import AudioInput, ImageInput, InputSpec, TableInput


def front_end(spec: InputSpec) -> nn.Module:
    """The front end that an input description asks for; nothing at all for a model that takes its own tensor."""
    if isinstance(spec, ImageInput):
        return ImageScaling(spec.front_end)
    if isinstance(spec, AudioInput):
        return LogMel(spec.front_end, spec.sample_rate)
    if isinstance(spec, TableInput):
        return TableScaling(spec.front_end)
    return nn.Identity()


def standardised(spec: AudioInput, windows: Iterable[Tensor]) -> AudioInput:
    """The same description with mean and std per mel band taken from training data, batches of float32[batch, samples]."""
    plain = spec.front_end.model_copy(update={"mean": (0.0,), "std": (1.0,)})
    log_mel = LogMel(plain, spec.sample_rate)
    count, total, squares = 0, torch.zeros(plain.n_mels, dtype=torch.float64), torch.zeros(plain.n_mels, dtype=torch.float64)
    with torch.inference_mode():
        for batch in windows:
            bands = log_mel(batch)[:, 0].double()
            count += bands.shape[0] * bands.shape[2]
            total += bands.sum(dim=(0, 2))
            squares += (bands * bands).sum(dim=(0, 2))
    if count == 0:
        raise ValueError("no windows to take mean and standard deviation from")
    mean = total / count
    # A band that never changes (beyond the recording's bandwidth, say) is left at its own scale.
    std = torch.sqrt(torch.clamp(squares / count - mean * mean, min=0.0))
    std = torch.where(std < 1e-3, torch.ones_like(std), std)
    constants = {"mean": tuple(mean.float().tolist()), "std": tuple(std.float().tolist())}
    return spec.model_copy(update={"front_end": plain.model_copy(update=constants)})

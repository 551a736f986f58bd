"""The front end that an input description asks for, as a torch module. Always FP32."""

from __future__ import annotations

from torch import nn

from avizor_export.front_ends.image_scaling import ImageScaling
from avizor_export.front_ends.log_mel import LogMel
from avizor_export.front_ends.table_scaling import TableScaling
from avizor_inference.items.inputs import AudioInput, ImageInput, InputSpec, TableInput


def build_front_end(spec: InputSpec) -> nn.Module:
    """Return the module that turns raw items [n, *item_shape] into the network's features; the identity for a TensorInput."""
    if isinstance(spec, ImageInput):
        return ImageScaling(spec.front_end)
    if isinstance(spec, AudioInput):
        return LogMel(spec.front_end, spec.sample_rate)
    if isinstance(spec, TableInput):
        return TableScaling(spec.front_end)
    return nn.Identity()

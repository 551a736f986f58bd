"""Build the front end that an input description asks for, as a torch module, and fit its constants to training items."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

import torch
from torch import Tensor, nn

from avizor_export.front_ends.kinds.base import KindOfFrontEnd, Spec
from avizor_inference.items.input_spec import InputSpec


def front_end_of(spec: Spec) -> KindOfFrontEnd[Spec]:
    """Return the front end of the description's kind: class `FrontEnd` of the module that is named after its modality."""
    kind: type[KindOfFrontEnd[Spec]] = import_module(f"avizor_export.front_ends.kinds.{spec.modality}").FrontEnd
    return kind(spec)


def build_front_end(spec: InputSpec) -> nn.Module:
    """Return the module that turns raw items [n, *item_shape] into the network's features; the identity for a TensorInput."""
    return front_end_of(spec).module()


def feature_shape(spec: InputSpec) -> tuple[int, ...]:
    """Return the shape of an item's features: what the front end returns for it, and the network takes."""
    tensor = spec.tensor()
    items = torch.zeros(1, *tensor.item_shape, dtype=getattr(torch, tensor.dtype))
    with torch.inference_mode():
        return tuple(build_front_end(spec)(items).shape[1:])


def fit_constants(spec: Spec, items: Iterable[Tensor]) -> Spec:
    """Return the same description with the constants that standardise these items.

    items: batches of raw training items [n, *item_shape]; of a table NaN where a value is missing. Mean and std are those of
    each channel of images and signals, of each mel band of sound, and of each number of a table. There, a fill that the
    description does not give is the median; bounds and categories stay. What never changes keeps its own scale: its std is 1.
    Raises ValueError if there are no items, nothing is to be fitted, a column has no value, or a value is not finite.
    """
    front_end = front_end_of(spec)
    return front_end.with_parts(front_end.fit(items))

"""Describe the tensor of a model without a front end."""

from __future__ import annotations

from typing import Literal

from avizor_inference.items.kinds.base import ItemInput
from avizor_inference.items.tensor_spec import DType, ItemShape, TensorSpec


class TensorInput(ItemInput):
    """Describes the input of a model without a front end: its own tensor, `dtype[batch, *item_shape]`."""

    modality: Literal["tensor"] = "tensor"
    name: str = "input"
    dtype: DType = "float32"
    item_shape: ItemShape

    def tensor(self) -> TensorSpec:
        """Return the graph's input."""
        return TensorSpec(name=self.name, dtype=self.dtype, item_shape=self.item_shape, meaning="the model's own tensor")

"""Describe one tensor of a model: name, element type, shape."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from avizor_inference.strict_json import Strict

# A message of gRPC, or a file of protobuf, is smaller.
MESSAGE_BYTES = 2**31

# Without the batch. numpy 1 holds 32 dimensions.
ItemShape = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=31)]
DType = Literal["uint8", "int32", "int64", "float32", "float64"]


class TensorSpec(Strict):
    """Describes one input or output: its name, element type, and shape without the batch dimension."""

    name: str
    dtype: DType
    item_shape: ItemShape
    meaning: str = ""

    @cached_property
    def item_bytes(self) -> int:
        """Return the size of one item in bytes."""
        return math.prod(self.item_shape) * np.dtype(self.dtype).itemsize

    @cached_property
    def wire_dtype(self) -> np.dtype[Any]:
        """Return the element type as it travels: little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    @model_validator(mode="after")
    def _an_item_can_travel(self) -> TensorSpec:
        if self.item_bytes >= MESSAGE_BYTES:
            raise ValueError(f"{self.name} has {self.item_bytes:.3g} bytes an item; a message of gRPC holds 2 GiB")
        return self

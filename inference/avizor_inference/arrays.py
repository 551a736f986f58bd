"""Define the types of the arrays that Avizor passes around."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# A tensor of any element type and shape, which engines take and return.
Array = NDArray[Any]
# Items as rows of a model's input tensor: [items, *item_shape], in the element type of that tensor.
Items = NDArray[np.generic]
# Values for computations: float64 of any shape.
Floats = NDArray[np.float64]
# Sound samples, full scale is -1..1: float32[samples] of one channel, or float32[frames, channels].
Samples = NDArray[np.float32]
# A picture: uint8[height, width, channels], red first.
Pixels = NDArray[np.uint8]

"""Names of the arrays that travel through Avizor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# A tensor of any element type and shape, as engines take and return it.
Array = NDArray[Any]
# Items as rows of a model's input tensor: [items, *item_shape], in the tensor's own element type.
Items = NDArray[np.generic]
# Numbers to compute with: float64 of any shape.
Floats = NDArray[np.float64]
# One channel of sound: float32[samples], full scale is -1..1.
Samples = NDArray[np.float32]

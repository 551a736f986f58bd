"""Give an output as its most probable classes, as Triton's classification extension does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avizor_inference.arrays import Array
from avizor_service.open_inference.tensors import BYTES, OutputTensor


def classified(name: str, values: Array, count: int, labels: Sequence[str]) -> OutputTensor:
    """Return the `count` highest values of each item as texts, `value:index` or `value:index:label`: [batch, count].

    values: [batch, ...]; the index is that in an item as one row. At most as many as there are values. labels: may be empty.
    """
    rows = values.reshape(len(values), -1)
    order = np.argsort(-rows, axis=1, kind="stable")[:, :count]
    texts = [_text(row[index], int(index), labels) for row, indices in zip(rows, order, strict=True) for index in indices]
    return OutputTensor(name, BYTES, order.shape, texts)


def _text(value: np.generic, index: int, labels: Sequence[str]) -> bytes:
    number = f"{value:d}" if isinstance(value, np.integer) else f"{float(value):f}"
    label = f":{labels[index]}" if index < len(labels) else ""
    return f"{number}:{index}{label}".encode()

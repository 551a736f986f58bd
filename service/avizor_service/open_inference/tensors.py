"""Hold the tensors of a request and of its answer, and check those of a request against what a model takes."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.errors import BatchTooLarge, InvalidInput
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.triton_config import DATATYPES

# Of text: each value is its length in four bytes, and then its bytes.
BYTES = "BYTES"

# Sizes of a shape that an error shows.
_SHOWN = 8


class InputTensor(NamedTuple):
    """Holds one tensor of a request as it came. Nothing of it is checked yet.

    shape: batch included. data: little-endian bytes, or an array of the elements in C order, of any shape.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    data: bytes | Array


class OutputTensor(NamedTuple):
    """Holds one tensor of an answer. shape: batch included. values: numbers, or for BYTES the texts in C order."""

    name: str
    datatype: str
    shape: Sequence[int]
    values: Array | Sequence[bytes]

    def raw(self) -> bytes:
        """Return the values as the protocol's binary form has them."""
        if isinstance(self.values, np.ndarray):
            return self.values.astype(self.values.dtype.newbyteorder("<"), copy=False).tobytes()
        return b"".join(struct.pack("<I", len(text)) + text for text in self.values)


def read_inputs(
    model: str, specs: Mapping[str, TensorSpec], max_batch_size: int, tensors: Iterable[InputTensor]
) -> dict[str, Array]:
    """Return the inputs of a request as arrays, [batch, *item_shape] by name.

    specs: of the model's inputs, by name. Raises InvalidInput or BatchTooLarge with the name of the input, what is wrong with
    it, and what it should be.
    """
    arrays: dict[str, Array] = {}
    for tensor in tensors:
        spec = specs.get(tensor.name)
        if spec is None:
            raise InvalidInput(f"model {model!r} has no input {tensor.name!r}; it takes {', '.join(specs)}", field=tensor.name)
        if tensor.name in arrays:
            raise InvalidInput(f"input {tensor.name!r} is in the request twice; send it once", field=tensor.name)
        arrays[tensor.name] = _array(model, spec, max_batch_size, tensor)
    for name in specs:
        if name not in arrays:
            raise InvalidInput(f"input {name!r} of model {model!r} is missing; send {wanted(specs[name])}", field=name)
    return arrays


def wanted(spec: TensorSpec) -> str:
    """Return what an input should be, in words: `FP32[batch, 1, 32, 32]`."""
    return f"{DATATYPES[spec.dtype]}[{', '.join(['batch', *map(str, spec.item_shape)])}]"


def _array(model: str, spec: TensorSpec, max_batch_size: int, tensor: InputTensor) -> Array:
    if tensor.datatype != DATATYPES[spec.dtype]:
        raise _wrong(spec, f"datatype {tensor.datatype[:_SHOWN]!r}")
    shape = tuple(tensor.shape)
    if not shape or shape[1:] != spec.item_shape:
        raise _wrong(spec, f"shape {_shown(shape)}")
    if shape[0] < 1:
        raise _wrong(spec, f"a batch of {shape[0]}")
    if shape[0] > max_batch_size:
        raise BatchTooLarge(
            f"input {spec.name!r} has a batch of {shape[0]}, over the {max_batch_size} that model {model!r} takes; send it in "
            "parts",
            field=spec.name,
        )
    if isinstance(tensor.data, np.ndarray):
        return _shaped(spec, shape, tensor.data)
    if len(tensor.data) != shape[0] * spec.item_bytes:
        has = f"{len(tensor.data)} bytes, and {DATATYPES[spec.dtype]}{_shown(shape)} takes {shape[0] * spec.item_bytes}"
        raise InvalidInput(f"input {spec.name!r} has {has}; send as many as its shape says", field=spec.name)
    return np.frombuffer(tensor.data, spec.wire_dtype).reshape(shape)


def _shaped(spec: TensorSpec, shape: tuple[int, ...], values: Array) -> Array:
    if values.size != math.prod(shape):
        has = f"{values.size} values, and shape {_shown(shape)} takes {math.prod(shape)}"
        raise InvalidInput(f"input {spec.name!r} has {has}; send as many as its shape says", field=spec.name)
    return values.reshape(shape)


def _wrong(spec: TensorSpec, has: str) -> InvalidInput:
    return InvalidInput(f"input {spec.name!r} has {has}; send {wanted(spec)}", field=spec.name)


def _shown(shape: Sequence[int]) -> str:
    if len(shape) <= _SHOWN:
        return str(list(shape))
    return f"[{', '.join(map(str, shape[:_SHOWN]))}, ...] of {len(shape)} dimensions"

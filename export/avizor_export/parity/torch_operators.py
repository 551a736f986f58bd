"""Compute the operators that are slow in onnx's reference evaluator by torch: convolutions, pooling and Erf.

On a ResNet-50 nearly all of the evaluator's time went there. Torch shares no code with ONNX Runtime either, and it computes a
grouped ConvTranspose, where the evaluator fails. What torch does not have is left to the evaluator: other types, some ways to
pad, indices of a maximum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx.reference.op_run import OpRun
from onnx.reference.ops import load_op
from torch import Tensor
from torch.nn import functional

from avizor_inference.arrays import Items
from avizor_inference.repository.onnx_graph import OPSET

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_MAXIMA = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGES = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}

_EvaluatorConv: type[OpRun] = load_op("", "Conv", OPSET)
_EvaluatorConvTranspose: type[OpRun] = load_op("", "ConvTranspose", OPSET)
_EvaluatorMaxPool: type[OpRun] = load_op("", "MaxPool", OPSET)
_EvaluatorAveragePool: type[OpRun] = load_op("", "AveragePool", OPSET)
_EvaluatorErf: type[OpRun] = load_op("", "Erf", OPSET)


class Conv(_EvaluatorConv):  # type: ignore[misc, valid-type]
    """A convolution of float32[N, C, ...] over one to three dimensions; `auto_pad` and uneven padding too."""

    def _run(self, x: Items, w: Items, bias: Items | None = None, **attributes: Any) -> tuple[Items, ...]:
        dims = x.ndim - 2
        if x.dtype != np.float32 or dims not in _CONVOLUTIONS:
            return super()._run(x, w, bias, **attributes)  # type: ignore[no-any-return]
        strides, dilations = _each(attributes, "strides", dims), _each(attributes, "dilations", dims)
        padded = _pad(_tensor(x), _pads(attributes, x.shape[2:], w.shape[2:], strides, dilations), 0.0)
        y = _CONVOLUTIONS[dims](
            padded, _tensor(w), None if bias is None else _tensor(bias), strides, 0, dilations, attributes["group"] or 1
        )
        return (y.numpy(),)


class ConvTranspose(_EvaluatorConvTranspose):  # type: ignore[misc, valid-type]
    """A transposed convolution of float32[N, C, ...] whose padding is given and the same at both ends."""

    def _run(self, x: Items, w: Items, bias: Items | None = None, **attributes: Any) -> tuple[Items, ...]:
        dims = x.ndim - 2
        pads = attributes["pads"] or [0] * 2 * dims
        is_given = (attributes["auto_pad"] or "NOTSET") == "NOTSET" and not attributes["output_shape"]
        if x.dtype != np.float32 or dims not in _TRANSPOSED or not is_given or pads[:dims] != pads[dims:]:
            return super()._run(x, w, bias, **attributes)  # type: ignore[no-any-return]
        strides, dilations = _each(attributes, "strides", dims), _each(attributes, "dilations", dims)
        y = _TRANSPOSED[dims](
            _tensor(x),
            _tensor(w),
            None if bias is None else _tensor(bias),
            strides,
            pads[:dims],
            list(attributes["output_padding"] or [0] * dims)[:dims],
            attributes["group"] or 1,
            dilations,
        )
        return (y.numpy(),)


class MaxPool(_EvaluatorMaxPool):  # type: ignore[misc, valid-type]
    """The largest of each window of float32[N, C, ...], without indices."""

    def _run(self, x: Items, **attributes: Any) -> tuple[Items, ...]:
        dims = x.ndim - 2
        kernel, strides = list(attributes["kernel_shape"]), _each(attributes, "strides", dims)
        dilations = _each(attributes, "dilations", dims)
        pads = _pads(attributes, x.shape[2:], kernel, strides, dilations)
        is_plain = len(self.onnx_node.output) == 1 and not (attributes["ceil_mode"] and any(pads))
        if x.dtype != np.float32 or dims not in _MAXIMA or not is_plain:
            return super()._run(x, **attributes)  # type: ignore[no-any-return]
        padded = _pad(_tensor(x), pads, -math.inf)
        return (_MAXIMA[dims](padded, kernel, strides, 0, dilations, bool(attributes["ceil_mode"])).numpy(),)


class AveragePool(_EvaluatorAveragePool):  # type: ignore[misc, valid-type]
    """The mean of each window of float32[N, C, ...]; padding counts as zeros, or is left out of the mean."""

    def _run(self, x: Items, **attributes: Any) -> tuple[Items, ...]:
        attributes.pop("dilations", None)  # of a later opset
        dims = x.ndim - 2
        kernel, strides = list(attributes["kernel_shape"]), _each(attributes, "strides", dims)
        pads = _pads(attributes, x.shape[2:], kernel, strides, [1] * dims)
        if x.dtype != np.float32 or dims not in _AVERAGES or attributes["ceil_mode"]:
            return super()._run(x, **attributes)  # type: ignore[no-any-return]
        means = _AVERAGES[dims](_pad(_tensor(x), pads, 0.0), kernel, strides)
        if any(pads) and not attributes["count_include_pad"]:
            # Divided by the share of each window that is not padding.
            means /= _AVERAGES[dims](_pad(torch.ones(1, 1, *x.shape[2:]), pads, 0.0), kernel, strides)
        return (means.numpy(),)


class Erf(_EvaluatorErf):  # type: ignore[misc, valid-type]
    """The error function of each element of float32."""

    def _run(self, x: Items) -> tuple[Items, ...]:
        if x.dtype != np.float32:
            return super()._run(x)  # type: ignore[no-any-return]
        return (torch.erf(_tensor(x)).numpy(),)


TORCH_OPERATORS: tuple[type[OpRun], ...] = (Conv, ConvTranspose, MaxPool, AveragePool, Erf)


def _tensor(array: Items) -> Tensor:
    return torch.tensor(array)  # a copy, since weights are read-only arrays, of which torch warns


def _each(attributes: dict[str, Any], name: str, dims: int) -> list[int]:
    return list(attributes.get(name) or [1] * dims)


def _pads(
    attributes: dict[str, Any], sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """Return by how much each dimension is padded: those before it, then those after it, as ONNX writes them."""
    auto_pad = attributes["auto_pad"] or "NOTSET"
    if auto_pad == "NOTSET":
        return list(attributes["pads"] or [0] * 2 * len(sizes))
    if auto_pad == "VALID":
        return [0] * 2 * len(sizes)
    totals = [
        max(0, (math.ceil(size / stride) - 1) * stride + (length - 1) * dilation + 1 - size)
        for size, length, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return smaller + larger if auto_pad == "SAME_UPPER" else larger + smaller


def _pad(x: Tensor, pads: Sequence[int], value: float) -> Tensor:
    """Return x[N, C, ...] padded. pads: as ONNX writes them."""
    dims = len(pads) // 2
    ends = [end for axis in reversed(range(dims)) for end in (pads[axis], pads[dims + axis])]  # the last dimension comes first
    return functional.pad(x, ends, value=value) if any(ends) else x

"""Find the convolutions of a network in its ONNX graph, with their weights as floats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper

from avizor_inference.arrays import Floats
from avizor_inference.errors import SettingsError
from avizor_inference.explain.filter_noise import network_noise
from avizor_inference.explain.graph_constants import GraphConstants
from avizor_inference.repository.reports import FilterNoise

# Export names the weights of the network so; those of front ends have other names.
_NETWORK = "network."
# The end of the name of a bias that the exporter adds to a convolution when it folds a batch norm into it.
_FOLDED_BIAS = ".weight_bias"
# ONNX Runtime's quantiser adds this to the names of what it quantises.
_QUANTISED = "_quantized"
# What may be between a convolution and its batch norm without changing a number, but for rounding.
_COPIES = frozenset({"Identity", "Cast", "QuantizeLinear", "DequantizeLinear"})
# operator -> which of its inputs is the weight
_WEIGHT_INPUT = {"Conv": 1, "ConvTranspose": 1, "QLinearConv": 3, "Gemm": 1, "MatMul": 1}
_CONVOLUTIONS = ("Conv", "ConvTranspose", "QLinearConv")
_MAX_NAMES = 40

# "folded by export" is known by the name of the bias, which a batch norm without a shift does not leave.
BatchNorm = Literal["none in the graph", "folded by export", "folded", "left out"]


@dataclass(frozen=True, eq=False)
class Convolution:
    """Holds one convolution: weights[filters, channels of one group, *kernel], of which each filter makes one map.

    name: of its module, as in the model card. batch_norm: what became of the batch norm after it. bias: with it.
    """

    name: str
    weights: Floats
    bias: Floats
    groups: int = 1
    dilations: tuple[int, ...] = ()
    batch_norm: BatchNorm = "none in the graph"

    @property
    def kernel(self) -> tuple[int, ...]:
        """Return the size of its filters."""
        return self.weights.shape[2:]


def noise_in(model: onnx.ModelProto) -> FilterNoise:
    """Return how much of the network in a graph looks like fresh weights."""
    return network_noise((each.name, each.weights) for each in Layers(model).convolutions())


class Layers:
    """Reads the layers of one graph that have weights."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._constants = GraphConstants(model)
        self._producers = {name: node for node in model.graph.node for name in node.output}
        self._has_prefix = any(each.name.startswith(_NETWORK) for each in model.graph.initializer)

    def names(self) -> tuple[str, ...]:
        """Return the names of the convolutions, in the order of the graph; each weight is named once."""
        return tuple(self._by_name())

    def convolution(self, name: str | None = None, *, fold_batch_norm: bool = True) -> Convolution | None:
        """Return the convolution of that name, by default the first one; None if the network has none.

        Raises SettingsError for an unknown name.
        """
        by_name = self._by_name()
        if name is None:
            name = next(iter(by_name), None)
        if name is None:
            return None
        if name not in by_name:
            raise SettingsError(f"there is no convolution {name!r}; {_listed(list(by_name))}")
        return self._read(name, by_name[name], fold_batch_norm)

    def convolutions(self) -> Iterator[Convolution]:
        """Yield all convolutions, in the order of the graph, without their batch norms."""
        for name, node in self._by_name().items():
            yield self._read(name, node, False)

    def first_matrix(self) -> tuple[str, Floats] | None:
        """Return name and weights[outputs, inputs] of the first fully connected layer; None if there is none."""
        for node in self._graph.node:
            if node.op_type in ("Gemm", "MatMul") and (stored := self._stored(node)):
                weights = self._weights(node)
                if weights.ndim == 2:
                    is_turned = node.op_type == "MatMul" or not _attribute(node, "transB", 0)
                    return _module(stored), weights.T if is_turned else weights
        return None

    def _by_name(self) -> dict[str, onnx.NodeProto]:
        found: dict[str, onnx.NodeProto] = {}
        for node in self._graph.node:
            if node.op_type in _CONVOLUTIONS and (stored := self._stored(node)):
                found.setdefault(_module(stored), node)
        return found

    def _stored(self, node: onnx.NodeProto) -> str | None:
        """Return the name of the stored weight of a node; None if it has none, or that of a front end."""
        place = _WEIGHT_INPUT[node.op_type]
        if len(node.input) <= place or node.input[place] not in self._constants:
            return None
        name = self._origin(node.input[place])
        if name in self._producers:  # a Constant node, of which export leaves none
            return None if self._has_prefix else name
        return name if name.startswith(_NETWORK) or not self._has_prefix else None

    def _origin(self, name: str) -> str:
        """Return the name of the first stored value that a constant is computed from."""
        while name in self._producers and self._producers[name].input:
            name = self._producers[name].input[0]
        return name

    def _read(self, name: str, node: onnx.NodeProto, fold: bool) -> Convolution:
        weights, groups = self._weights(node), int(_attribute(node, "group", 1))
        if node.op_type == "ConvTranspose":  # [inputs, outputs of one group, ...]
            inputs, outputs, *kernel = weights.shape
            weights = weights.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
            weights = weights.reshape(groups * outputs, inputs // groups, *kernel)
        bias, by_export = self._bias(node, len(weights))
        dilations = tuple(_attribute(node, "dilations", [1] * (weights.ndim - 2)))
        layer = Convolution(name, weights, bias, groups, dilations, "folded by export" if by_export else "none in the graph")
        norm = self._norm_after(node)
        if norm is None:
            return layer
        return self._folded(layer, norm) if fold else replace(layer, batch_norm="left out")

    def _weights(self, node: onnx.NodeProto) -> Floats:
        place = _WEIGHT_INPUT[node.op_type]
        weights = np.asarray(self._constants[node.input[place]], np.float64)
        if node.op_type != "QLinearConv":
            return weights
        scale, zero = (np.asarray(self._constants[node.input[place + each]], np.float64) for each in (1, 2))
        shape = (-1, *[1] * (weights.ndim - 1))
        return (weights - zero.reshape(shape)) * scale.reshape(shape)

    def _bias(self, node: onnx.NodeProto, filters: int) -> tuple[Floats, bool]:
        """Return the bias of a node, zeros if it has none, and whether export added it for a batch norm."""
        is_quantised = node.op_type == "QLinearConv"
        place = 8 if is_quantised else 2
        if len(node.input) <= place or node.input[place] not in self._constants:
            return np.zeros(filters), False
        bias = np.asarray(self._constants[node.input[place]], np.float64)
        if is_quantised:  # its step is that of the input times that of the weights
            bias = bias * self._constants[node.input[1]] * self._constants[node.input[4]]
        return bias, self._origin(node.input[place]).removesuffix(_QUANTISED).endswith(_FOLDED_BIAS)

    def _norm_after(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """Return the batch norm that alone uses the output of a node."""
        users = [each for each in self._graph.node if node.output[0] in each.input]
        if len(users) != 1 or any(each.name == node.output[0] for each in self._graph.output):
            return None
        if users[0].op_type in _COPIES:
            return self._norm_after(users[0])
        is_norm = users[0].op_type == "BatchNormalization" and all(each in self._constants for each in users[0].input[1:])
        return users[0] if is_norm else None

    def _folded(self, layer: Convolution, norm: onnx.NodeProto) -> Convolution:
        """Return weights and bias with which the convolution alone computes what it and the batch norm do."""
        scale, offset, mean, variance = (np.asarray(self._constants[each], np.float64) for each in norm.input[1:5])
        factor = scale / np.sqrt(variance + _attribute(norm, "epsilon", 1e-5))
        weights = layer.weights * factor.reshape(-1, *[1] * (layer.weights.ndim - 1))
        return replace(layer, weights=weights, bias=(layer.bias - mean) * factor + offset, batch_norm="folded")


def _module(stored: str) -> str:
    """Return the name of the module that a stored weight belongs to, as the model card has it."""
    name = stored.removeprefix(_NETWORK).removesuffix(_QUANTISED).partition(".parametrizations.")
    return name[0] if name[1] else name[0].rpartition(".")[0] or name[0]


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def _listed(names: list[str]) -> str:
    if not names:
        return "the network has no convolution with weights of its file"
    more = f" and {len(names) - _MAX_NAMES} more, which the model card lists" if len(names) > _MAX_NAMES else ""
    return f"those there are {', '.join(names[:_MAX_NAMES])}{more}"

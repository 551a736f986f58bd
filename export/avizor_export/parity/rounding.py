"""Measure how much the reference's own outputs change when its features change by a few roundings.

A norm over a map that is constant divides rounding errors by the root of its eps: by 0.003, once for each such norm. Items of
zeros make such maps. Two implementations then return two different roundings, and neither is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from avizor_export.front_ends.build import build_front_end
from avizor_export.graph.wrapped_network import WrappedNetwork
from avizor_export.parity.soundness import Run
from avizor_export.parity.tolerances import output_differences
from avizor_inference.arrays import Array, Items
from avizor_inference.items.input_spec import InputSpec

# Largest change of a feature, as a share of the largest feature: 8 roundings of float32.
LARGEST_CHANGE = 1e-6

# float32[1, *feature shape] -> the reference, with that added to the features of every item.
Perturbed = Callable[[Array], Run]


def perturbation(spec: InputSpec, items: Items) -> Array | None:
    """Return a random change float32[1, *feature shape] of the features of these items; None if features are whole numbers.

    It is at most LARGEST_CHANGE times the largest feature, or times 1 if all are 0. Whole numbers have no rounding errors.
    """
    with torch.inference_mode():
        features = build_front_end(spec)(torch.from_numpy(items)).numpy()
    if not np.issubdtype(features.dtype, np.floating):
        return None
    scale = float(np.abs(features).max(initial=0.0)) or 1.0
    noise = np.random.default_rng(0).uniform(-LARGEST_CHANGE, LARGEST_CHANGE, (1, *features.shape[1:]))
    return (scale * noise).astype(features.dtype)


def own_deviation(expected: Mapping[str, Items], perturbed: Mapping[str, Items]) -> dict[str, float]:
    """Return how much each output changed with the features, as a share of what may differ."""
    differences = output_differences(expected, perturbed, "")
    return {name: difference.share_of_allowed or 0.0 for name, difference in differences.items()}


def perturbed_torch(model: WrappedNetwork) -> Perturbed:
    """Return a function that takes a change of the features and returns the torch module with that change."""

    def perturbed(change: Array) -> Run:
        def add(_module: torch.nn.Module, _inputs: Any, features: Tensor) -> Tensor:
            return features + torch.from_numpy(change)

        def run(items: Items) -> dict[str, Items]:
            handle = model.front_end.register_forward_hook(add)
            try:
                return model.as_reference(items)
            finally:
                handle.remove()

        return run

    return perturbed


def perturbed_graph(proto: onnx.ModelProto, features: str, change: Array) -> onnx.ModelProto:
    """Return a copy of the graph that adds `change` to the value named `features`, an output of one of its nodes."""
    graph = onnx.ModelProto()
    graph.CopyFrom(proto)
    nodes = graph.graph.node
    index, node = next((index, node) for index, node in enumerate(nodes) if features in node.output)
    node.output[:] = ["avizor.unchanged" if name == features else name for name in node.output]
    nodes.insert(index + 1, helper.make_node("Add", ["avizor.unchanged", "avizor.change"], [features]))
    graph.graph.initializer.append(numpy_helper.from_array(change, "avizor.change"))
    return graph

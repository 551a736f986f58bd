"""How far the reference's own outputs go when its features move by a few roundings.

A norm over a map that is constant divides rounding by the root of its eps: by 0.003, once for each such norm. Items of zeros
make such maps. What two implementations give there are two roundings, and neither is wrong.
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

# Of the largest feature: 8 roundings of float32.
MOVE = 1e-6

# float32[1, *feature shape] -> the reference, with that added to the features of every item.
Perturbed = Callable[[Array], Run]


def perturbation(spec: InputSpec, items: Items) -> Array | None:
    """A random movement of the features of these items, at most MOVE of the largest, or of 1 where all are 0.

    None where features are whole numbers, which do not round.
    """
    with torch.inference_mode():
        features = build_front_end(spec)(torch.from_numpy(items)).numpy()
    if not np.issubdtype(features.dtype, np.floating):
        return None
    scale = float(np.abs(features).max(initial=0.0)) or 1.0
    noise = np.random.default_rng(0).uniform(-MOVE, MOVE, (1, *features.shape[1:]))
    return (scale * noise).astype(features.dtype)


def own_deviation(expected: Mapping[str, Items], perturbed: Mapping[str, Items]) -> dict[str, float]:
    """By how much each output moved with the features, as a share of what may differ."""
    compared = output_differences(expected, perturbed, "")
    return {name: difference.share_of_allowed or 0.0 for name, difference in compared.items()}


def perturbed_torch(model: WrappedNetwork) -> Perturbed:
    """A torch module whose features are moved."""

    def moved(by: Array) -> Run:
        def add(_module: torch.nn.Module, _inputs: Any, features: Tensor) -> Tensor:
            return features + torch.from_numpy(by)

        def run(items: Items) -> dict[str, Items]:
            handle = model.front_end.register_forward_hook(add)
            try:
                return model.as_reference(items)
            finally:
                handle.remove()

        return run

    return moved


def perturbed_graph(proto: onnx.ModelProto, features: str, by: Array) -> onnx.ModelProto:
    """The graph with `by` added to the value named `features`, which one of its nodes makes."""
    graph = onnx.ModelProto()
    graph.CopyFrom(proto)
    nodes = graph.graph.node
    place, node = next((place, node) for place, node in enumerate(nodes) if features in node.output)
    node.output[:] = ["avizor.unmoved" if name == features else name for name in node.output]
    nodes.insert(place + 1, helper.make_node("Add", ["avizor.unmoved", "avizor.movement"], [features]))
    graph.graph.initializer.append(numpy_helper.from_array(by, "avizor.movement"))
    return graph

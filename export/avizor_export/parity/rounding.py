"""Measure how much the reference's own outputs change by roundings: of its features, and of the front end that computes them.

A norm over a map that is constant divides rounding errors by the root of its eps: by 0.003, once for each such norm. Items of
zeros make such maps. Two implementations then return two different roundings, and neither is wrong.

The logarithm of a band that is nearly silent beside a loud one is that of a small difference of large numbers, of which float32
keeps few digits: the log-mel of speech is up to 4e-4 off (docs/decisions/0008-log-mel-in-two-stages.md).
"""

from __future__ import annotations

import copy
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
from avizor_export.parity.tolerances import noise_between, output_differences
from avizor_inference.arrays import Array, Items
from avizor_inference.items.input_spec import AudioInput, InputSpec

# Largest change of a feature, as a share of the largest feature: 8 roundings of float32.
LARGEST_CHANGE = 1e-6

# How far two front ends may be from each other, as a multiple of how far torch's is from the same one in float64. Of 121
# windows of speech the largest difference was up to 2.3 times as large, beyond what is allowed as rounding of the largest
# feature.
_FRONT_ENDS_APART = 4
# Smaller noise is not added to tolerances, which have as much anyway.
_HARDLY = 1e-6

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
        return _with_other_features(model, lambda _waveforms, features: features + torch.from_numpy(change))

    return perturbed


def _with_other_features(model: WrappedNetwork, other: Callable[[Tensor, Tensor], Tensor]) -> Run:
    """Return what runs a torch module with other features. other: makes them of raw items and features."""

    def replace(_module: torch.nn.Module, inputs: Any, features: Tensor) -> Tensor:
        return other(inputs[0], features)

    def run(items: Items) -> dict[str, Items]:
        handle = model.front_end.register_forward_hook(replace)
        try:
            return model.as_reference(items)
        finally:
            handle.remove()

    return run


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


def with_rounding_of_sound(run: Run, model: WrappedNetwork, spec: InputSpec) -> Run:
    """Add to what the run returns by how much roundings of the front end of sound change each output: see NOISE.

    Of autoencoders alone. The root of an error map is the difference of a feature and its reconstruction, and the distance of
    an item of the training to its own row of a bank is 0: both show what a feature is off. Probabilities hardly do.
    """
    if not isinstance(spec, AudioInput):
        return run
    exact = copy.deepcopy(model.front_end).double()
    with_exact = _with_other_features(model, lambda waveforms, _features: exact(waveforms.double()).float())

    def with_noise(items: Items) -> dict[str, Items]:
        outputs = run(items)
        if "error_map" not in outputs:
            return outputs
        noise = noise_between(outputs, with_exact(items))
        # None is left out: the same outputs are compared for all items.
        apart = {name: _FRONT_ENDS_APART * (each if each.max() > _HARDLY else 0 * each) for name, each in noise.items()}
        return {**outputs, **apart}

    return with_noise

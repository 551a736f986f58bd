"""Compute Grad-CAM with torch's autograd: the oracle of class activation maps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from avizor_export.front_ends.build import build_front_end
from avizor_export.graph.last_layers import last_linear_and_map
from avizor_inference.arrays import Array, Items
from avizor_inference.items.input_spec import InputSpec


def torch_grad_cam(network: nn.Module, spec: InputSpec, row: Items, class_index: int) -> Array:
    """Return the Grad-CAM of a class for one row, without its ReLU: [h, w], or [length].

    It is the sum of the channels of the last map, each weighted by the mean of its gradient over all places.
    """
    network.eval()
    caught: list[Tensor] = []
    features = build_front_end(spec)(torch.from_numpy(row[None]))
    _, layer = last_linear_and_map(network, lambda: network(features))
    assert layer is not None
    handle = layer.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    try:
        logits = network(features).flatten()
    finally:
        handle.remove()
    activations = caught[-1]
    (gradient,) = torch.autograd.grad(logits[class_index], activations)
    places = tuple(range(2, activations.ndim))
    weighted = gradient.mean(dim=places, keepdim=True) * activations
    return np.asarray(weighted.sum(dim=1)[0].detach().numpy())

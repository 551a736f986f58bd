"""Wrap a trained network for its task, and put it into eval mode while it is wrapped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avizor_export.front_ends.build import build_front_end
from avizor_export.graph.output_options import OutputOptions
from avizor_export.graph.wrapped_autoencoder import WrappedAutoencoder
from avizor_export.graph.wrapped_classifier import WrappedClassifier
from avizor_export.graph.wrapped_network import WrappedNetwork, restore_modes
from avizor_export.stages import stage
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.repository.manifest import Task


@stage("find the network's outputs")
def wrap(
    network: nn.Module, spec: InputSpec, task: Task, example: Tensor, options: OutputOptions | None = None
) -> WrappedNetwork:
    """Wrap a trained network and put it into eval mode.

    example: a batch of raw items [n >= 2, ...]. options: what does not show by itself; None leaves all to the network.
    Raises ExportError if the network does not fit the task; it is then in its own mode again.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise ExportError("the network was made by torch.jit.script or trace; export the module that it was made from")
    original = getattr(network, "_orig_mod", None)
    if isinstance(original, nn.Module):  # the module that torch.compile wraps; compiled code would not call the taps
        network = original
    options = options or OutputOptions()
    modes = {module: module.training for module in network.modules()}
    try:
        network.eval()
        if any(module.training for module in network.modules()):
            raise ExportError("a part of the network stays in training mode; its eval() has to switch every part")
        wrapper = WrappedClassifier if task == "classify" else WrappedAutoencoder
        wrapped = wrapper(build_front_end(spec), network, modes, example, options).eval()
        wrapped.leave_out(options.leave_out)
        return wrapped
    except BaseException:
        restore_modes(modes)
        raise

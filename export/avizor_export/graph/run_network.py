"""Run a user's network once, and refuse a network that fails or takes several inputs."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from avizor_export.graph.one_input import ONE_INPUT
from avizor_inference.errors import ExportError


def run_network(front_end: nn.Module, network: nn.Module, example: Tensor) -> object:
    """Return what the network returns for raw items [n, ...]. Raises ExportError if it fails."""
    with torch.inference_mode():
        features = front_end(example)
        try:
            return network(features)
        except Exception as error:  # the user's own code
            raise ExportError(
                f"the network failed on the front end's output of shape {list(features.shape)}: "
                f"{type(error).__name__}: {error}{advice(network, example)}"
            ) from error


def refuse_several_inputs(network: nn.Module) -> None:
    """Raise ExportError if the network's forward cannot be called with one tensor."""
    try:
        parameters = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):  # without a signature, as some compiled functions
        return
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [each.name for each in parameters if each.default is each.empty and each.kind not in variable]
    if len(required) > 1:
        raise ExportError(f"the network takes {len(required)} inputs ({', '.join(required)}), and {ONE_INPUT}")


def require_float32(output: Tensor, network: nn.Module, example: Tensor) -> Tensor:
    """Return the network's output. Raises ExportError if it is of another type."""
    if output.dtype != torch.float32:
        raise ExportError(f"the network returns {output.dtype}; let it return float32{advice(network, example)}")
    return output


def advice(network: nn.Module, example: Tensor) -> str:
    """Return a likely reason of a failure and what to do, if weights or items are of an unusual type."""
    other_dtypes = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()} - {torch.float32}
    if other_dtypes:
        return f"; it has {', '.join(sorted(map(str, other_dtypes)))} weights; call .float() on it"
    if example.dtype in (torch.int32, torch.int64):
        return "; give real items: whole numbers are drawn from their range, or else from 0 to 255"
    return ""

"""Run a user's network once, and refuse what it returns if a model cannot return it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from avizor_inference.errors import ExportError


def run_network(front_end: nn.Module, network: nn.Module, example: Tensor) -> Tensor:
    """Return the network's output for raw items [n, ...]. Raises ExportError if it fails, or returns no float32 tensor."""
    with torch.inference_mode():
        features = front_end(example)
        try:
            output = network(features)
        except Exception as error:  # the user's own code
            raise ExportError(
                f"the network failed on the front end's output of shape {list(features.shape)}: "
                f"{type(error).__name__}: {error}{_advice(network, example)}"
            ) from error
    if not isinstance(output, Tensor):
        raise ExportError(
            f"the network returns a {type(output).__name__}; let it return one tensor, by a factory that wraps it: a module "
            f"whose forward(self, x) is `return self.network(x){_take_first_output(output)}`"
        )
    if output.dtype != torch.float32:
        raise ExportError(f"the network returns {output.dtype}; let it return float32{_advice(network, example)}")
    return output


def _take_first_output(output: object) -> str:
    """Return code that takes the first of several outputs."""
    if isinstance(output, Mapping):
        return f"[{next(iter(output), 'logits')!r}]"
    return "[0]" if isinstance(output, tuple | list) else ".logits" if hasattr(output, "logits") else ""


def _advice(network: nn.Module, example: Tensor) -> str:
    """Return a likely reason of a failure and what to do, if weights or items are of an unusual type."""
    other_dtypes = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()} - {torch.float32}
    if other_dtypes:
        return f"; it has {', '.join(sorted(map(str, other_dtypes)))} weights; call .float() on it"
    if example.dtype in (torch.int32, torch.int64):
        return "; give real items: whole numbers are drawn from their range, or else from 0 to 255"
    return ""

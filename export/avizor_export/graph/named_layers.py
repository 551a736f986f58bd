"""Say why the layer that a user names cannot be the embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from avizor_export.graph.intermediate_outputs import is_view_of

_MOST_LISTED = 8


def layers_that_run(network: nn.Module, run: Callable[[], object]) -> dict[str, nn.Module]:
    """Return the modules inside a network that run, by name, in their order. run: runs the network once.

    Those of a .pt2 program do not: it has their weights, and a graph instead of their calls.
    """
    layers = {name: module for name, module in network.named_modules() if name}
    ran: set[nn.Module] = set()
    handles = [module.register_forward_hook(lambda module, _, __: ran.add(module)) for module in layers.values()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return {name: module for name, module in layers.items() if module in ran}


def no_such_layer(name: str, layers: Iterable[str], outputs: Iterable[str]) -> str:
    """Return that there is nothing of this name, and what there is: names like it, or else the last layers and the outputs."""
    known, others = [each for each in layers if "._" not in each], [each for each in outputs if each]
    near = get_close_matches(name, [*known, *others], n=_MOST_LISTED)
    shown = near or [*known[-_MOST_LISTED:], *others[:_MOST_LISTED]]
    remedy = f"{'did you mean' if near else 'there are'}: {', '.join(shown)}" if shown else "export the torch module itself"
    return f"no layer that runs, and no output of the network, has this name; {remedy}"


def why_not_usable(value: Tensor | None, items: Tensor, output: Tensor) -> str:
    """Return why a layer's output cannot be an output of the model. value: what was caught for these items, flattened."""
    if value is None:
        return "the layer does not return one tensor with dimensions besides the batch"
    if is_view_of(value, output):
        return "the layer returns the network's own output"
    if is_view_of(value, items):
        return "the layer returns the items themselves"
    if value.dtype != torch.float32:
        return f"the layer returns {value.dtype}, and an embedding is float32"
    return f"the layer returns {list(value.shape)} for a batch of {len(items)}, not a row of the same size for each item"

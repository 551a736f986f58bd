"""Which layers of a classifier are tapped: its last linear one, and the one that gives its last feature map.

A map has its channels first. Layer norms and linear layers take them last, behind a permutation that may be a mere function:
what comes after them counts again when a convolution, pooling or norm of maps has run, or a residual block has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

from avizor_export.graph.intermediate_outputs import is_map

_CHANNELS_FIRST = (_ConvNd, _NormBase, nn.GroupNorm, _MaxPoolNd, _AvgPoolNd, _AdaptiveMaxPoolNd, _AdaptiveAvgPoolNd)
_ATTENTION = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


def last_linear_and_map(network: nn.Module, run: Callable[[], object]) -> tuple[nn.Module | None, nn.Module | None]:
    """The last linear layer to run, and the last module to give a map [N, C, h, w]. run: runs the network once.

    There is no such map where the network goes on with what it is made into: tokens, or pixels that are rows.
    """
    found = _Found()
    handles = []
    for module in network.modules():
        if module is not network:
            handles.append(module.register_forward_pre_hook(found.begin))
            handles.append(module.register_forward_hook(found.end))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found.linear, found.map


class _Found:
    """What is known while the network runs."""

    def __init__(self) -> None:
        self.linear: nn.Module | None = None
        self.map: nn.Module | None = None
        self._channels_first = True
        self._at_entry: dict[nn.Module, bool] = {}

    def begin(self, module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        """A module begins to run."""
        self._at_entry[module] = self._channels_first

    def end(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """A module has run."""
        if isinstance(module, nn.Linear):
            self.linear = module
        if _goes_on_with_rows(module, output):
            self.map = None
        if not is_map(output):
            return
        self._channels_first = self._is_channels_first(module, inputs, output)
        if self._channels_first:
            self.map = module

    def _is_channels_first(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> bool:
        if isinstance(module, _CHANNELS_FIRST):
            return True
        if type(module).__name__ == "Permute":  # torchvision's
            return list(getattr(module, "dims", ())) == [0, 3, 1, 2]
        if isinstance(module, nn.Linear) or _is_over_last_dimension(module):
            return False
        is_residual = any(True for _ in module.children()) and inputs and getattr(inputs[0], "shape", None) == output.shape
        return self._channels_first or bool(is_residual and self._at_entry[module])


def _is_over_last_dimension(module: nn.Module) -> bool:
    """A layer norm over channels that are last; torchvision has another class for those that are first."""
    own_forward = type(module).forward is not nn.LayerNorm.forward
    return isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1 and not own_forward


def _goes_on_with_rows(module: nn.Module, output: Any) -> bool:
    if isinstance(module, _ATTENTION):
        return True
    if isinstance(module, nn.Linear):
        return is_map(output)
    return isinstance(module, nn.LayerNorm) and isinstance(output, Tensor) and output.ndim == 3

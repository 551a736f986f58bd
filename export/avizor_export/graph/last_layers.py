"""Find the layers of a classifier to tap: its last linear layer, and the layer that returns its last feature map.

A feature map has its channels first. Layer norms and linear layers expect them last, so the network permutes them before, often
by a plain function that no hook sees. After such a layer an output counts as channels-first again once a convolution, a pooling
or a norm of maps has run, or a residual block has ended.

The features of a signal are maps of one dimension, [N, C, length]. Tokens look the same, [N, tokens, C]. So they count only
after a layer of one dimension, until a layer that works on rows has run; and only in a network without maps of two dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

from avizor_export.graph.intermediate_outputs import is_line, is_map

_CHANNELS_FIRST = (_ConvNd, _NormBase, nn.GroupNorm, _MaxPoolNd, _AvgPoolNd, _AdaptiveMaxPoolNd, _AdaptiveAvgPoolNd)
_ATTENTION = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


def last_linear_and_map(network: nn.Module, run: Callable[[], object]) -> tuple[nn.Module | None, nn.Module | None]:
    """Return the last linear layer that runs, and the last module that returns a feature map [N, C, h, w], or [N, C, length].

    Either is None if there is none. run: runs the network once. There is no map where the network turns it into tokens, or into
    pixels that are rows, and continues with those.
    """
    observer = _LayerObserver()
    handles = []
    for module in network.modules():
        if module is not network:
            handles.append(module.register_forward_pre_hook(observer.begin))
            handles.append(module.register_forward_hook(observer.end))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return observer.linear, observer.map or observer.line


class _LayerObserver:
    """Watch the modules of a network while it runs, and remember the last linear layer and the last feature map."""

    def __init__(self) -> None:
        self.linear: nn.Module | None = None
        self.map: nn.Module | None = None
        self.line: nn.Module | None = None
        self._channels_first = True
        self._channels_first_at_entry: dict[nn.Module, bool] = {}

    def begin(self, module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        """Note that a module begins to run."""
        self._channels_first_at_entry[module] = self._channels_first

    def end(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Note that a module has run."""
        if isinstance(module, nn.Linear):
            self.linear = module
        if _works_on_rows(module, output):
            self.map = None
        self._note_line(module, output)
        if not is_map(output):
            return
        self._channels_first = self._is_channels_first(module, inputs, output)
        if self._channels_first:
            self.map = module

    def _note_line(self, module: nn.Module, output: Any) -> None:
        """Note that a module has returned a map of one dimension, or works on rows."""
        if isinstance(module, (nn.LayerNorm, nn.RNNBase, *_ATTENTION)) or (isinstance(module, nn.Linear) and is_line(output)):
            self.line = None
        elif is_line(output) and (isinstance(module, _CHANNELS_FIRST) or self.line is not None):
            self.line = module

    def _is_channels_first(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> bool:
        if isinstance(module, _CHANNELS_FIRST):
            return True
        if type(module).__name__ == "Permute":  # torchvision's
            return list(getattr(module, "dims", ())) == [0, 3, 1, 2]
        if isinstance(module, nn.Linear) or _normalises_last_dimension(module):
            return False
        is_residual = any(True for _ in module.children()) and inputs and getattr(inputs[0], "shape", None) == output.shape
        return self._channels_first or bool(is_residual and self._channels_first_at_entry[module])


def _normalises_last_dimension(module: nn.Module) -> bool:
    """Return whether the module is a layer norm over channels that come last; torchvision subclasses it for channels first."""
    overrides_forward = type(module).forward is not nn.LayerNorm.forward
    return isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1 and not overrides_forward


def _works_on_rows(module: nn.Module, output: Any) -> bool:
    """Return whether the module treats its input as tokens, or as pixels that are rows, and no longer as a map."""
    if isinstance(module, _ATTENTION):
        return True
    if isinstance(module, nn.Linear):
        return is_map(output)
    return isinstance(module, nn.LayerNorm) and isinstance(output, Tensor) and output.ndim == 3

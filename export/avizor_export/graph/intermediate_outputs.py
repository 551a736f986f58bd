"""Taps: hooks that catch values inside a user's network while it runs, and that are removed afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class Taps:
    """Catch tensors of a network, by name, in its last run."""

    def __init__(self) -> None:
        self._caught: dict[str, Tensor] = {}
        self._handles: dict[str, RemovableHandle] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the taps, in the order in which they were set."""
        return tuple(self._handles)

    def catch_input(self, name: str, module: nn.Module) -> None:
        """Catch the module's first input, flattened: [N, ...] -> [N, E]."""

        def hook(_module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            self._catch(name, inputs[0] if inputs else next(iter(keywords.values()), None), flat=True)

        self._handles[name] = module.register_forward_pre_hook(hook, with_kwargs=True)

    def catch_output(self, name: str, module: nn.Module, part: Callable[[object], object] = lambda output: output) -> None:
        """Catch the module's output, or a part of it, if that is a tensor, flattened: [N, ...] -> [N, E]."""
        self._handles[name] = module.register_forward_hook(lambda _, __, output: self._catch(name, part(output), flat=True))

    def catch_map(self, name: str, module: nn.Module) -> None:
        """Catch the last output of the module that is a feature map, of two dimensions or of one; it may run several times."""

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if is_map(output) or is_line(output):
                self._catch(name, output, flat=False)

        self._handles[name] = module.register_forward_hook(hook)

    def take(self) -> dict[str, Tensor]:
        """Return the tensors caught since the last call, in the order of `names`, and forget them."""
        caught, self._caught = self._caught, {}
        return {name: caught[name] for name in self._handles if name in caught}

    def keep(self, names: set[str]) -> None:
        """Remove every tap whose name is not in `names`."""
        for name in set(self._handles) - names:
            self._handles.pop(name).remove()

    def _catch(self, name: str, value: object, *, flat: bool) -> None:
        self._caught.pop(name, None)  # of an earlier run of the module
        if isinstance(value, Tensor) and value.ndim >= 2:
            self._caught[name] = value.flatten(1) if flat else value


def is_map(value: object) -> bool:
    """Return whether the value is a feature map [N, C, h, w] of more than one pixel."""
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[2] * value.shape[3] > 1


def is_line(value: object) -> bool:
    """Return whether the value has the shape of a feature map of one dimension, [N, C, length], of more than one place."""
    return isinstance(value, Tensor) and value.ndim == 3 and value.shape[2] > 1


def names_with_a_row_per_item(small: Mapping[str, Tensor], large: Mapping[str, Tensor], sizes: tuple[int, int]) -> set[str]:
    """Return the names of the float32 values whose first dimension is the batch and whose other sizes stay the same.

    small, large: the values of two runs, by name. sizes: the batch sizes of the two runs.
    """
    return {
        name
        for name, value in small.items()
        if name in large
        and (len(value), len(large[name])) == sizes
        and value.shape[1:] == large[name].shape[1:]
        and value.dtype == torch.float32
    }


def is_view_of(value: Tensor, other: Tensor) -> bool:
    """Return whether the two tensors share all their memory: the value is `other`, perhaps in another shape."""
    return value.numel() == other.numel() and value.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()

"""Taps: what goes on inside a user's network, caught by hooks while it runs, and taken off again afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class Taps:
    """Tensors by name, as the last run of the network left them."""

    def __init__(self) -> None:
        self._caught: dict[str, Tensor] = {}
        self._handles: dict[str, RemovableHandle] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the taps in the order in which they were set."""
        return tuple(self._handles)

    def catch_input(self, name: str, module: nn.Module) -> None:
        """The module's first input, flattened: [N, ...] -> [N, E]."""

        def hook(_module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            self._catch(name, inputs[0] if inputs else next(iter(keywords.values()), None), flat=True)

        self._handles[name] = module.register_forward_pre_hook(hook, with_kwargs=True)

    def catch_output(self, name: str, module: nn.Module) -> None:
        """The module's output, if it is a tensor, flattened: [N, ...] -> [N, E]."""
        self._handles[name] = module.register_forward_hook(lambda _, __, output: self._catch(name, output, flat=True))

    def catch_map(self, name: str, module: nn.Module) -> None:
        """The last of the module's outputs that is a map [N, C, h, w]."""

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if is_map(output):
                self._catch(name, output, flat=False)

        self._handles[name] = module.register_forward_hook(hook)

    def take(self) -> dict[str, Tensor]:
        """What was caught since the last time."""
        caught, self._caught = self._caught, {}
        return {name: caught[name] for name in self._handles if name in caught}

    def keep(self, names: set[str]) -> None:
        """Take off all other taps."""
        for name in set(self._handles) - names:
            self._handles.pop(name).remove()

    def _catch(self, name: str, value: object, *, flat: bool) -> None:
        self._caught.pop(name, None)  # what an earlier run of the module left is not its last
        if isinstance(value, Tensor) and value.ndim >= 2:
            self._caught[name] = value.flatten(1) if flat else value


def is_map(value: object) -> bool:
    """Whether it is a feature map [N, C, h, w] of more than one pixel."""
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[2] * value.shape[3] > 1


def names_with_a_row_per_item(small: Mapping[str, Tensor], large: Mapping[str, Tensor], sizes: tuple[int, int]) -> set[str]:
    """Names of what has a row for each item, in batches of two sizes, and is float32 of the same shape in both."""
    return {
        name
        for name, value in small.items()
        if name in large
        and (len(value), len(large[name])) == sizes
        and value.shape[1:] == large[name].shape[1:]
        and value.dtype == torch.float32
    }


def is_view_of(value: Tensor, other: Tensor) -> bool:
    """Whether the value is the other itself, perhaps in another shape, and nothing that was computed of it."""
    return value.numel() == other.numel() and value.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()

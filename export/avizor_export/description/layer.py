"""Define what is known of one layer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """Hold one layer with weights, or one that changes the size of the map.

    input, output: shapes without the batch; 0 is a size that the graph does not show. field: receptive field, height and width
    in pixels of the input; None for all of it. parameters: numbers in weights that no earlier layer uses. again: numbers in
    weights that an earlier layer uses. multiply_adds: for one item; None if the graph does not show them.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    field: tuple[int, int] | None
    parameters: int = 0
    again: int = 0
    multiply_adds: int | None = 0
    input: tuple[int, ...] = ()
    window: Window | None = None
    enlarges: bool = False
    after_join: bool = False  # a skip connection or branch was joined before this layer
    beside_join: bool = False  # its output is joined with another branch
    norm_inside: str = ""  # "batch norm" or "weight norm", if the graph shows that export folded one into this layer
    groups: int = 1
    word: str = ""  # the word of the spec that it was built from

    @property
    def stride(self) -> tuple[int, int]:
        """Return the stride of its windows, height and width; (1, 1) for a layer without windows."""
        return self.window.stride if self.window else (1, 1)


@dataclass(frozen=True)
class Window:
    """Hold the windows of a convolution or pool; each pair is height and width.

    spread: rows and columns from the first to the last of the kernel, with its dilation. padding: both sides together.
    is_rounded_up: whether a last window that reaches over the edge counts (`ceil`). lost: rows and columns that no window
    reaches. jump: pixels of the network's input between one window and the next.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    spread: tuple[int, int]
    padding: tuple[int, int]
    is_rounded_up: bool
    lost: tuple[int, int]
    jump: tuple[int, int]

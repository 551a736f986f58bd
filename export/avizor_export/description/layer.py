"""What is known of one layer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """One layer with weights, or one that changes the size of the map.

    output: shape without the batch. field: pixels of the input that one output depends on, height and width; None for all.
    In shapes 0 stands for a size that the graph does not tell.
    parameters: numbers in weights that no layer before it uses. again: those that one does.
    multiply_adds: of one item; None where the graph does not tell.
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
    after_join: bool = False  # some skip connection or branch was joined before it
    beside_join: bool = False  # what it gives is joined with another branch
    norm_inside: str = ""  # "batch norm" or "weight norm", of which the graph shows that it was folded into this layer
    groups: int = 1
    word: str = ""  # of the spec

    @property
    def stride(self) -> tuple[int, int]:
        """Of its windows; 1 for a layer that has none."""
        return self.window.stride if self.window else (1, 1)


@dataclass(frozen=True)
class Window:
    """What a convolution or pool looks at, height and width each.

    spread: rows and columns from the first to the last of the kernel, with its dilation. padding: of both sides together.
    is_rounded_up: a last window that reaches over the edge counts (`ceil`). lost: rows and columns that no window reaches.
    jump: pixels of the network's input between one window and the next.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    spread: tuple[int, int]
    padding: tuple[int, int]
    is_rounded_up: bool
    lost: tuple[int, int]
    jump: tuple[int, int]

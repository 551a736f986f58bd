"""Choose among the arrays of a file that has several, by name, and cut them into blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from avizor_inference.errors import MediaError
from avizor_inference.items.signals.layout import (
    MOST_UNPACKED,
    Block,
    Layout,
    axis_of_channels,
    block_steps,
    check_dtype,
    listed,
    place_of,
)

Shape = tuple[int, ...]


def blocks_of_named(shapes: Mapping[str, Shape], load: Callable[[str], Block], layout: Layout) -> Iterator[Block]:
    """Yield the blocks of what the layout asks for: the array of its `key`, one for each of its `columns`, or the only one.

    shapes: of all arrays in the file, by name. load: reads one. Raises MediaError.
    """
    names = list(shapes)
    if layout.key is None and layout.columns:
        chosen = [names[place_of(column, names, "array")] for column in layout.columns]
        _check_size(shapes, chosen)
        channels = [_one_channel(name, load(name)) for name in chosen]
        if len({len(channel) for channel in channels}) > 1:
            lengths = ", ".join(f"{name!r} {len(channel)}" for name, channel in zip(chosen, channels, strict=True))
            raise MediaError(f"the channels have different lengths: {lengths} steps")
        array = np.stack(channels, axis=1)
    else:
        name = names[place_of(layout.key, names, "array")] if layout.key is not None else _only(shapes)
        _check_size(shapes, [name])
        array = load(name)
        check_dtype(array.dtype, f"array {name!r}")
        axis = axis_of_channels(array.shape, layout.channels, f"array {name!r}")
        array = array.T if axis == 0 else array.reshape(-1, layout.channels)
    size = block_steps(layout.channels)
    yield from (array[start : start + size] for start in range(0, len(array), size))


def _only(shapes: Mapping[str, Shape]) -> str:
    """Return the name of the only array that holds more than one number."""
    names = [name for name, shape in shapes.items() if math.prod(shape) > 1] or list(shapes)
    if len(names) != 1:
        if not names:
            raise MediaError("the file has no array of numbers")
        raise MediaError(
            f"the file has several arrays, {listed(names)}; name the signal's with key=NAME in the model's input, or one for "
            "each channel with columns=NAME/NAME"
        )
    return names[0]


def _one_channel(name: str, array: Block) -> Block:
    check_dtype(array.dtype, f"array {name!r}")
    axis_of_channels(array.shape, 1, f"array {name!r}")
    return array.reshape(-1)


def _check_size(shapes: Mapping[str, Shape], names: list[str]) -> None:
    values = sum(math.prod(shapes[name]) for name in names)
    if values > MOST_UNPACKED:
        raise MediaError(
            f"the signal has {values:,} values, and at most {MOST_UNPACKED:,} are unpacked in memory; save it as a .npy file, "
            "which is read from the disk"
        )

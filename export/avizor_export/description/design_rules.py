"""Where a design breaks the rules of thumb for plain convolutional networks, and why they are there.

The rules are those of the course CS231n (cs231n.github.io/convolutional-networks, "Layer sizing patterns"). They are about the
way down from an image to its features; of an autoencoder that is the encoder, and its decoder, the mirror image, is left alone.
Beyond the course: a latent space that could hold its input as it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from avizor_export.description.layer import Layer, Window


def warnings_for(layers: Sequence[Layer]) -> list[str]:
    """One sentence for each rule that is broken, with the layer and the reason; empty if none is."""
    down = _way_down(layers)
    maps = [layer for layer in down if layer.window is not None]
    convolutions = [layer for layer in maps if layer.kind.startswith("conv")]
    # Super-resolution has no way down: its convolutions stay at the size of the input.
    only_up = any(layer.enlarges for layer in layers) and all(layer.stride == (1, 1) for layer in maps)
    return [
        *([] if only_up else _long_stages(maps)),
        *([] if only_up else _no_pooling(down, maps, convolutions)),
        *_other_sizes(convolutions),
        *_edges(maps),
        *_large_kernels(convolutions),
        *_wide_latent(layers),
    ]


def _way_down(layers: Sequence[Layer]) -> Sequence[Layer]:
    """Layers before the decoder: what is called that, or what comes after the first layer that enlarges its map."""
    for index, layer in enumerate(layers):
        if layer.enlarges or layer.name.startswith("decoder."):
            return layers[:index]
    return layers


def _long_stages(maps: Sequence[Layer]) -> Iterator[str]:
    run: list[Layer] = []
    for layer in (*maps, None):
        if layer is not None and _counts(layer):
            run.append(layer)
        if layer is None or layer.stride != (1, 1) or layer.after_join:
            if len(run) > 3:
                yield (
                    f"{_called(run[0])}: n = {len(run)} convolutions before the next pool, over 3: without skip connections "
                    "the gradient fades, and memory goes into maps of one size; pool in between, or use a residual network"
                )
            run = []


def _counts(layer: Layer) -> bool:
    return layer.kind.startswith("conv") and layer.window is not None and layer.window.kernel != (1, 1) and not layer.after_join


def _no_pooling(down: Sequence[Layer], maps: Sequence[Layer], convolutions: Sequence[Layer]) -> Iterator[str]:
    if not convolutions or any(layer.stride != (1, 1) for layer in maps):
        return
    first, field = convolutions[0], maps[-1].field
    if not any(layer.kind == "global pool" for layer in down):
        yield (
            f"{_called(first)}: nothing pools or strides: the field grows only by the kernels, and the first linear layer sees "
            "every pixel; add a pool after each stage"
        )
    elif (
        field is not None
        and len(first.input) == 3
        and all(first.input)
        and any(field[axis] < first.input[1 + axis] for axis in (0, 1))
    ):
        yield (
            f"{_called(first)}: nothing pools or strides before the global pool: what is averaged has seen no more than "
            f"{_by(field)} of {_size(first.input)} pixels; add a pool after each stage"
        )


def _other_sizes(convolutions: Sequence[Layer]) -> Iterator[str]:
    for layer in convolutions:
        if layer.stride != (1, 1) or len(layer.input) != 3:
            continue
        sizes = list(zip(layer.input[1:], layer.output[1:], strict=True))
        if any(0 in pair for pair in sizes):
            continue  # the graph does not tell
        if any(after < before for before, after in sizes):
            yield (
                f"{_called(layer)}: its padding shrinks the map from {_size(layer.input)} to {_size(layer.output)}: the edge "
                "is looked at less than the middle; pad by half the kernel, and leave shrinking to the pools"
            )
        elif any(after > before for before, after in sizes):
            yield (
                f"{_called(layer)}: its padding enlarges the map from {_size(layer.input)} to {_size(layer.output)}: pad by "
                "half the kernel; an even kernel without a stride cannot keep the size, an odd one can"
            )


def _edges(maps: Sequence[Layer]) -> Iterator[str]:
    """Maps that a stride does not divide. A stride of 1x1 on the short way round a block has the sizes of the long way."""
    for layer in maps:
        window = layer.window
        if window is None or layer.stride == (1, 1) or len(layer.input) != 3 or layer.beside_join:
            continue
        if not all(layer.input):
            continue  # the graph does not tell its size
        halves = all(_is_padded_for_size(window, axis) for axis in (0, 1))
        over = [layer.input[1 + axis] % window.stride[axis] for axis in (0, 1)]
        if any(window.spread[axis] < window.stride[axis] for axis in (0, 1)):
            yield (
                f"{_called(layer)}: its windows of {_by(window.kernel)} are smaller than its stride, and the pixels between "
                "them are never seen; give it a kernel of at least the stride"
            )
        elif halves and any(over):
            yield (
                f"{_called(layer)}: a map of {_size(layer.input)} cannot be divided by its stride{_unseen(window)}; "
                f"{_dividing(maps[0].input[1:], window.jump)}"
            )
        elif any(window.lost):
            yield (
                f"{_called(layer)}: overlapping windows of {_by(window.kernel)} do not fit a map of {_size(layer.input)}"
                f"{_unseen(window)}; {_fitting(layer, window)}"
            )


def _is_padded_for_size(window: Window, axis: int) -> bool:
    """Whether it is meant to make the map exactly so many times smaller, and not to take windows only where they fit."""
    return window.is_rounded_up or window.padding[axis] >= window.spread[axis] - window.stride[axis]


def _unseen(window: Window) -> str:
    if not any(window.lost):
        return ": its last windows reach over the edge, and see less than the others"
    return f": {window.lost[0]} rows and {window.lost[1]} columns at the edge are never seen"


def _dividing(given: tuple[int, ...], jump: tuple[int, int]) -> str:
    """Return how to fix a map that a stride does not divide. given: height and width of the network's input."""
    if len(given) == 2 and all(given[axis] % jump[axis] == 0 for axis in (0, 1)):
        return "pad the convolutions before it by half their kernel, so that they keep the size of their maps"
    if jump[0] == jump[1]:
        return f"choose an input whose height and width are multiples of {jump[0]}"
    return f"choose an input whose height is a multiple of {jump[0]} and whose width is one of {jump[1]}"


def _fitting(layer: Layer, window: Window) -> str:
    side = math.ceil((max(window.spread) - max(window.stride)) / 2)
    if "pool" not in layer.kind:
        return f"pad it by {side} (in a spec, p{side})"
    return f"pad it by {side}, or round up (in a spec, p{side} or ceil)"


def _large_kernels(convolutions: Sequence[Layer]) -> Iterator[str]:
    for layer in convolutions[1:]:
        # Groups make a large kernel cheap: one of 7x7 for each channel has 49 C weights, and 1x1 convolutions do the mixing.
        if layer.window is None or max(layer.window.kernel) <= 5 or layer.groups > 1:
            continue
        height, width = layer.window.kernel
        # One more layer for each two pixels; along a side that is wide enough already a kernel of 1.
        small = [
            (3 if height > 1 + 2 * index else 1, 3 if width > 1 + 2 * index else 1) for index in range(max(height, width) // 2)
        ]
        stack = " and ".join(f"{count} of {_by(kernel)}" for kernel, count in Counter(small).items())
        weights = sum(kernel[0] * kernel[1] for kernel in small)
        yield (
            f"{_called(layer)}: a kernel of {height}x{width} past the first layer: {stack} see as much, with {weights} C^2 "
            f"weights instead of {height * width} C^2, and with {len(small) - 1} rectifiers more"
        )


def _wide_latent(layers: Sequence[Layer]) -> Iterator[str]:
    latent = next((layer for layer in layers if layer.name == "encoder.latent"), None)
    if latent is None:
        return
    given, kept = math.prod(layers[-1].output), math.prod(latent.output)  # the reconstruction is as large as the input
    if kept >= given:
        yield (
            f"{_called(latent)}: a latent space of {kept:,} numbers holds the {given:,} of its input as they are: faults come "
            "back as well as what is normal; make it narrower"
        )


def _called(layer: Layer) -> str:
    return f"{layer.word} (layer {layer.name})" if layer.word else layer.name


def _size(shape: tuple[int, ...]) -> str:
    return _by(shape[1:])


def _by(sides: tuple[int, ...]) -> str:
    return "x".join(map(str, sides))

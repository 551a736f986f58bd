"""Warn where a design breaks the rules of thumb for plain convolutional networks, and say why the rules exist.

The rules are those of the course CS231n (cs231n.github.io/convolutional-networks, "Layer sizing patterns"). They apply to the
layers from an image to its features; in an autoencoder that is the encoder, and its decoder is not checked. One rule is not of
the course: a latent space must be smaller than the input.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from avizor_export.description.layer import Layer, Window
from avizor_inference.error_text import counted


def warnings_for(layers: Sequence[Layer]) -> list[str]:
    """Return one sentence for each rule that is broken, with the layer and the reason; empty if none is."""
    down = _layers_before_decoder(layers)
    maps = [layer for layer in down if layer.window is not None]
    convolutions = [layer for layer in maps if layer.kind.startswith("conv")]
    # Super-resolution makes no map smaller: its convolutions keep the size of the input.
    only_up = any(layer.enlarges for layer in layers) and all(layer.stride == (1, 1) for layer in maps)
    return [
        *([] if only_up else _long_stages(maps)),
        *([] if only_up else _no_pooling(down, maps, convolutions)),
        *_changed_sizes(convolutions),
        *_unseen_edges(maps),
        *_large_kernels(convolutions),
        *_wide_latent(layers),
    ]


def _layers_before_decoder(layers: Sequence[Layer]) -> Sequence[Layer]:
    """Return the layers before the decoder, which begins at that name, or at the first layer that enlarges its map."""
    for index, layer in enumerate(layers):
        if layer.enlarges or layer.name.startswith("decoder."):
            return layers[:index]
    return layers


def _long_stages(maps: Sequence[Layer]) -> Iterator[str]:
    run: list[Layer] = []
    for layer in (*maps, None):
        if layer is not None and _is_in_stage(layer):
            run.append(layer)
        if layer is None or layer.stride != (1, 1) or layer.after_join:
            if len(run) > 3:
                yield (
                    f"{_called(run[0])}: n = {len(run)} convolutions before the next pool, over 3: without skip connections "
                    "the gradient fades, and memory goes into maps of one size; pool in between, or use a residual network"
                )
            run = []


def _is_in_stage(layer: Layer) -> bool:
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


def _changed_sizes(convolutions: Sequence[Layer]) -> Iterator[str]:
    for layer in convolutions:
        if layer.stride != (1, 1) or len(layer.input) != 3:
            continue
        sizes = list(zip(layer.input[1:], layer.output[1:], strict=True))
        if any(0 in pair for pair in sizes):
            continue  # the graph does not show its sizes
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


def _unseen_edges(maps: Sequence[Layer]) -> Iterator[str]:
    """Warn of maps that a stride does not divide, except on the skip path of a block, which follows the main path."""
    for layer in maps:
        window = layer.window
        if window is None or layer.stride == (1, 1) or len(layer.input) != 3 or layer.beside_join:
            continue
        if not all(layer.input):
            continue  # the graph does not show its size
        is_for_size = all(_is_padded_for_size(window, axis) for axis in (0, 1))
        remainder = [layer.input[1 + axis] % window.stride[axis] for axis in (0, 1)]
        if any(window.spread[axis] < window.stride[axis] for axis in (0, 1)):
            yield (
                f"{_called(layer)}: its windows of {_by(window.kernel)} are smaller than its stride, and the pixels between "
                "them are never seen; give it a kernel of at least the stride"
            )
        elif is_for_size and any(remainder):
            yield (
                f"{_called(layer)}: a map of {_size(layer.input)} cannot be divided by its stride{_unseen_part(window)}; "
                f"{_remedy_for_size(maps[0].input[1:], window.jump)}"
            )
        elif any(window.lost):
            yield (
                f"{_called(layer)}: overlapping windows of {_by(window.kernel)} do not fit a map of {_size(layer.input)}"
                f"{_unseen_part(window)}; {_remedy_for_overlap(layer, window)}"
            )


def _is_padded_for_size(window: Window, axis: int) -> bool:
    """Tell whether the padding is meant to divide the map's size by the stride, instead of only using windows that fit."""
    return window.is_rounded_up or window.padding[axis] >= window.spread[axis] - window.stride[axis]


def _unseen_part(window: Window) -> str:
    if not any(window.lost):
        return ": its last windows reach over the edge, and see less than the others"
    rows, columns = counted(window.lost[0], "row"), counted(window.lost[1], "column")
    return f": {rows} and {columns} at the edge are never seen"


def _remedy_for_size(input_size: tuple[int, ...], jump: tuple[int, int]) -> str:
    """Return how to fix a map that a stride does not divide. input_size: height and width of the network's input."""
    if len(input_size) == 2 and all(input_size[axis] % jump[axis] == 0 for axis in (0, 1)):
        return "pad the convolutions before it by half their kernel, so that they keep the size of their maps"
    if jump[0] == jump[1]:
        return f"choose an input whose height and width are multiples of {jump[0]}"
    return f"choose an input whose height is a multiple of {jump[0]} and whose width is one of {jump[1]}"


def _remedy_for_overlap(layer: Layer, window: Window) -> str:
    side = math.ceil((max(window.spread) - max(window.stride)) / 2)
    if "pool" not in layer.kind:
        return f"pad it by {side} (in a spec, p{side})"
    return f"pad it by {side}, or round up (in a spec, p{side} or ceil)"


def _large_kernels(convolutions: Sequence[Layer]) -> Iterator[str]:
    for layer in convolutions[1:]:
        # Groups make a large kernel cheap: 7x7 for each channel has 49 C weights, and 1x1 convolutions mix the channels. One
        # dimension does, too: 1x7 has 7 C^2 weights, and 3 of 1x3 have 9 C^2.
        if layer.window is None or max(layer.window.kernel) <= 5 or min(layer.window.kernel) == 1 or layer.groups > 1:
            continue
        height, width = layer.window.kernel
        # One layer for each two pixels; along a side that is covered already, a kernel of 1.
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
    input_numbers = math.prod(layers[-1].output)  # the reconstruction is as large as the input
    latent_numbers = math.prod(latent.output)
    if latent_numbers >= input_numbers:
        yield (
            f"{_called(latent)}: a latent space of {latent_numbers:,} numbers can store the {input_numbers:,} of its input "
            "unchanged: faults are reconstructed as well as normal items; make it narrower"
        )


def _called(layer: Layer) -> str:
    return f"{layer.word} (layer {layer.name})" if layer.word else layer.name


def _size(shape: tuple[int, ...]) -> str:
    return _by(shape[1:])


def _by(sides: tuple[int, ...]) -> str:
    return "x".join(map(str, sides))

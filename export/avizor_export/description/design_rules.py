"""Where a design breaks the rules of thumb for plain convolutional networks, and why they are there.

The rules are those of the course CS231n (cs231n.github.io/convolutional-networks, "Layer sizing patterns"). They are about the
way down from an image to its features; of an autoencoder that is the encoder, and its decoder, the mirror image, is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from avizor_export.description.layers import Layer


def warnings_for(layers: Sequence[Layer]) -> list[str]:
    """One sentence for each rule that is broken, with the layer and the reason; empty if none is."""
    maps = [layer for layer in _way_down(layers) if layer.kernel is not None]
    convolutions = [layer for layer in maps if layer.kind.startswith("conv")]
    # Super-resolution has no way down: its convolutions stay at the size of the input.
    only_up = any(layer.enlarges for layer in layers) and all(layer.stride == (1, 1) for layer in maps)
    return [
        *([] if only_up else _long_stages(maps)),
        *([] if only_up else _no_pooling(maps, convolutions)),
        *_shrinking(convolutions),
        *_lost_edges(maps),
        *_large_kernels(convolutions),
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
        if layer is not None and layer.kind.startswith("conv") and layer.kernel != (1, 1) and not layer.after_join:
            run.append(layer)
        if layer is None or layer.stride != (1, 1) or layer.after_join:
            if len(run) > 3:
                yield (
                    f"{run[0].name}: n = {len(run)} convolutions before the next pool, over 3: without skip connections the "
                    "gradient fades, and memory goes into maps of one size; pool in between, or use a residual network"
                )
            run = []


def _no_pooling(maps: Sequence[Layer], convolutions: Sequence[Layer]) -> Iterator[str]:
    if convolutions and all(layer.stride == (1, 1) for layer in maps):
        yield (
            f"{convolutions[0].name}: nothing pools or strides: the field grows only by the kernels, and the first linear "
            "layer sees every pixel; add a pool after each stage"
        )


def _shrinking(convolutions: Sequence[Layer]) -> Iterator[str]:
    for layer in convolutions:
        if layer.stride == (1, 1) and len(layer.input) == 3 and layer.output[1:] < layer.input[1:]:
            yield (
                f"{layer.name}: its padding shrinks the map from {_size(layer.input)} to {_size(layer.output)}: the edge is "
                "looked at less than the middle; pad by half the kernel, and leave shrinking to the pools"
            )


def _lost_edges(maps: Sequence[Layer]) -> Iterator[str]:
    for layer in maps:
        if layer.stride != (1, 1) and any(layer.lost):
            yield (
                f"{layer.name}: a map of {_size(layer.input)} cannot be divided by its stride, {layer.lost[0]} rows and "
                f"{layer.lost[1]} columns at the edge are never seen; choose an input that can be halved often enough "
                "(32, 64, 96, 224)"
            )


def _large_kernels(convolutions: Sequence[Layer]) -> Iterator[str]:
    for layer in convolutions[1:]:
        if layer.kernel is not None and max(layer.kernel) > 5:
            yield (
                f"{layer.name}: a kernel of {layer.kernel[0]}x{layer.kernel[1]} past the first layer: three of 3x3 see as much "
                "as one of 7x7, with 27 C^2 weights in place of 49 C^2 and two rectifiers more"
            )


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape[1:]))

"""Build autoencoders by spec: the words are the encoder, the last one the latent space, and the decoder is the mirror image.

    conv16s2bn conv32s2bn conv64s2bn latent24      maps through a vector of 24 numbers
    conv32bn pool conv64bn latentmap8              maps through maps of 8 channels, with no linear layer
    fc64 fc32 latent8                              rows of numbers, or maps as flat rows

The words are those of spec_grammar.py. In the mirror image

* a convolution with a stride is a transposed convolution whose kernel is a multiple of the stride, so that every pixel is made
  of equally many terms (Odena, Dumoulin and Olah, "Deconvolution and checkerboard artifacts", 2016): 4 for stride 2;
* a pool is nearest upsampling, and the convolution before it the convolution after it;
* batch norm and relu follow each layer that they follow in the encoder, but for the last, which is linear: a reconstruction
  takes any value;
* dropout has no counterpart.

latent<numbers> is a linear layer, latentmap<channels> a convolution 1x1, both without a relu. What has no mirror image (gap,
lrn, pools with `ceil`) is refused. An input whose size the strides do not divide is padded with zeros at its end, to the next
size that they divide, and the reconstruction is cut to the size of the input.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from avizor_export.architectures.layers_by_dimension import BATCH_NORM, CONVOLUTION, TRANSPOSED_CONVOLUTION
from avizor_export.architectures.spec_grammar import Token, layer_of_word, of_word, parse_words, refuse_maps


class Autoencoder(nn.Module):
    """Reconstructs its input, float32[batch, *shape], in the same shape.

    `encoder` gives the latent space, float32[batch, ...], and `decoder` the way back.

    shape: channels, height, width; channels, steps of a signal; or the numbers of a row. The latent space has to be narrow: one
    wide enough to copy its input reconstructs faults as well as it does normal items. Raises ValueError naming the word that is
    wrong.
    """

    def __init__(self, spec: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        tokens = _parse(spec, shape)
        missing = [-size % _stride(tokens) for size in shape[1:]]
        pairs = _pairs(tokens, (shape[0], *(size + rest for size, rest in zip(shape[1:], missing, strict=True))))
        down = [layer for pair in pairs[:-1] for layer in pair.down]
        # Names, and not places, so that weights have the same names at every size.
        layers = OrderedDict[str, nn.Module]({str(place): layer for place, layer in enumerate(down)})
        layers["latent"] = pairs[-1].down[0]
        if any(missing):
            layers = OrderedDict([("pad", Pad(missing)), *layers.items()])
        self.encoder = nn.Sequential(layers)
        self.decoder = nn.Sequential(*_mirror(pairs))
        if any(missing):
            self.decoder.add_module("crop", Crop(shape[1:]))

    def forward(self, items: Tensor) -> Tensor:
        """Return the reconstruction."""
        reconstruction: Tensor = self.decoder(self.encoder(items))
        return reconstruction


class Pad(nn.Module):
    """Adds so many zeros at the end of each dimension of a map or a signal: float32[batch, channels, *sizes]."""

    def __init__(self, missing: Sequence[int]) -> None:
        super().__init__()
        self.sides = [side for zeros in reversed(missing) for side in (0, zeros)]  # torch names the last dimension first

    def forward(self, items: Tensor) -> Tensor:
        """Return the larger map."""
        return nn.functional.pad(items, self.sides)


class Crop(nn.Module):
    """Cuts a map to its first rows and columns, or a signal to its first steps: float32[batch, channels, *sizes]."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, items: Tensor) -> Tensor:
        """Return the part."""
        for axis, size in enumerate(self.sizes, 2):
            items = items.narrow(axis, 0, size)
        return items


@dataclass(frozen=True)
class _Pair:
    """Holds layers of the encoder, and what makes their mirror image: with True, as the last layer of the network."""

    down: Sequence[nn.Module]
    up: Callable[[bool], Sequence[nn.Module]]
    weighted: bool = True


def _parse(spec: str, shape: tuple[int, ...]) -> list[Token]:
    tokens = parse_words(spec)
    if not tokens or tokens[-1].kind not in ("latent", "latentmap"):
        raise ValueError(f"the spec {spec!r} does not end with its latent space, as in `conv16s2 conv32s2 latent24`")
    if len(shape) == 1:
        refuse_maps(tokens[:-1], shape)
        if tokens[-1].kind == "latentmap":
            raise ValueError(f"{tokens[-1].text!r} takes maps, and the input is a row of {shape[0]} numbers; write latent8")
        return tokens
    _check_windows(tokens)
    return tokens


def _pooling(tokens: Sequence[Token]) -> list[Token]:
    return [token for token in tokens if token.kind == "conv" or token.kind.endswith("pool")]


def _stride(tokens: Sequence[Token]) -> int:
    """Return what the size of an input is divided by."""
    return math.prod(_window(token)[1] for token in _pooling(tokens))


def _check_windows(tokens: Sequence[Token]) -> None:
    """Raise ValueError unless each layer divides a map of a fitting size by its stride, with nothing left over."""
    for token in _pooling(tokens):
        kernel, stride, padding = _window(token)
        if "ceil" in token.options:
            raise ValueError(f"{token.text!r} has no mirror image with `ceil`; leave it out")
        if not kernel - stride <= 2 * padding < kernel:
            fitting = max(0, math.ceil((kernel - stride) / 2))
            if token.whole("x", 1) > 1 and kernel % 2 == 0:  # the others would be refused next
                raise ValueError(f"{token.text!r} does not {_effect(stride)}; write {_apart(token, fitting)}")
            odd = f"write an odd kernel with half of it as padding, as in {token.kind}{_with_odd_kernel(token, kernel)}"
            remedy = f"write p{fitting}" if kernel - stride <= 2 * fitting < kernel else odd
            raise ValueError(f"{token.text!r} does not {_effect(stride)}; {remedy}")


def _effect(stride: int) -> str:
    return "keep the size of its map" if stride == 1 else f"make its map exactly {stride} times smaller"


def _with_odd_kernel(token: Token, kernel: int) -> str:
    """Return the text that follows the word if its kernel, which is even, becomes the next odd one."""
    odd, padding = kernel + 1, (kernel + 1) // 2
    return f"{token.size()}k{odd}p{padding}" if token.kind == "conv" else f"{odd}s1p{padding}"


def _window(token: Token) -> tuple[int, int, int]:
    """Return kernel, stride and padding."""
    if token.kind == "conv":
        kernel = token.whole("k", 3)
        return kernel, token.whole("s", 1), token.whole("p", kernel // 2, least=0)
    size = token.size(2)
    return size, token.whole("s", size), token.whole("p", 0, least=0)


def _pairs(tokens: Sequence[Token], shape: tuple[int, ...]) -> list[_Pair]:
    pairs: list[_Pair] = []
    for token in tokens:
        if token.kind in ("fc", "latent") and len(shape) > 1:
            pairs.append(_plain(nn.Flatten(), nn.Unflatten(1, shape)))
            shape = (math.prod(shape),)
        made, shape = _pair(token, shape)
        for pair in made:
            of_word(token, pair.down)
        pairs += made
    return pairs


def _pair(token: Token, shape: tuple[int, ...]) -> tuple[list[_Pair], tuple[int, ...]]:
    """Return the layers of one word, and the shape after them."""
    if token.kind == "conv":
        return _convolutions(token, shape)
    if token.kind == "latentmap":
        return [_narrow(shape[0], token.size(), len(shape) - 1)], (token.size(), *shape[1:])
    if token.kind == "latent":
        return [_linear(shape[0], token.size(), is_latent=True)], (token.size(),)
    if token.kind == "fc":
        return [_linear(shape[0], token.size(), batch_norm="bn" in token.options)], (token.size(),)
    if token.kind.endswith("pool"):
        _, stride, _ = _window(token)
        layer = layer_of_word(token, len(shape) - 1)
        return [_plain(layer, nn.Upsample(scale_factor=stride))], (shape[0], *(size // stride for size in shape[1:]))
    if token.kind == "drop":
        return [_plain(layer_of_word(token))], shape
    raise ValueError(f"{token.text!r} has no mirror image; an autoencoder is made of conv, pool, fc and drop")


def _mirror(pairs: Sequence[_Pair]) -> list[nn.Module]:
    last = next(index for index, pair in enumerate(pairs) if pair.weighted)
    return [layer for index, pair in reversed(list(enumerate(pairs))) for layer in pair.up(index == last)]


def _plain(down: nn.Module, *up: nn.Module) -> _Pair:
    """Return layers without weights, which are the same in encoder and decoder."""

    def mirrored(_last: bool) -> Sequence[nn.Module]:
        return up

    return _Pair([down], mirrored, weighted=False)


def _linear(inputs: int, outputs: int, *, batch_norm: bool = False, is_latent: bool = False) -> _Pair:
    down = nn.Linear(inputs, outputs, bias=not batch_norm)

    def up(last: bool) -> list[nn.Module]:
        return _layers(nn.Linear(outputs, inputs, bias=last or not batch_norm), nn.BatchNorm1d, inputs, batch_norm, last)

    return _Pair(_layers(down, nn.BatchNorm1d, outputs, batch_norm, is_latent), up)


def _narrow(inputs: int, outputs: int, dimensions: int) -> _Pair:
    convolution, norm = CONVOLUTION[dimensions], BATCH_NORM[dimensions]
    return _Pair(
        [convolution(inputs, outputs, 1)],
        lambda last: _layers(convolution(outputs, inputs, 1), norm, inputs, False, last),
    )


def _convolutions(token: Token, shape: tuple[int, ...]) -> tuple[list[_Pair], tuple[int, ...]]:
    outputs, (kernel, stride, padding) = token.size(), _window(token)
    channels, *sizes = shape
    batch_norm = "bn" in token.options
    pairs = []
    for index in range(token.whole("x", 1)):
        step = 1 if index else stride
        if index and kernel % 2 == 0:
            raise ValueError(
                f"{token.text!r}: only the first of its convolutions has the stride, and an even kernel without one shifts its "
                f"map; write {_apart(token, padding)}"
            )
        window = (kernel, step, kernel // 2 if index else padding)
        pairs.append(_convolution(channels, outputs, window, batch_norm, len(sizes)))
        channels = outputs
    return pairs, (outputs, *(size // stride for size in sizes))


def _apart(token: Token, padding: int) -> str:
    """Return words for the first convolution and for the others, which get the usual kernel; so does a first without stride."""
    kernel, stride, _ = _window(token)
    times, batch_norm = token.whole("x", 1), "bn" if "bn" in token.options else ""
    if stride == 1:
        return f"conv{token.size()}x{times}{batch_norm}"
    first = f"conv{token.size()}k{kernel}s{stride}p{padding}{batch_norm}"
    return f"{first} conv{token.size()}{f'x{times - 1}' if times > 2 else ''}{batch_norm}"


def _convolution(inputs: int, outputs: int, window: tuple[int, int, int], batch_norm: bool, dimensions: int) -> _Pair:
    kernel, stride, padding = window
    convolution, norm = CONVOLUTION[dimensions], BATCH_NORM[dimensions]
    down = convolution(inputs, outputs, kernel, stride, padding, bias=not batch_norm)

    def up(last: bool) -> list[nn.Module]:
        bias = last or not batch_norm
        if stride == 1:
            layer: nn.Module = convolution(outputs, inputs, kernel, padding=padding, bias=bias)
        else:
            size = _even_kernel(kernel, stride)
            layer = TRANSPOSED_CONVOLUTION[dimensions](outputs, inputs, size, stride, (size - stride) // 2, bias=bias)
        return _layers(layer, norm, inputs, batch_norm, last)

    return _Pair(_layers(down, norm, outputs, batch_norm, False), up)


def _even_kernel(kernel: int, stride: int) -> int:
    """Return the kernel of the transposed convolution: the encoder's if it covers every pixel equally often, else the next one.

    It has to be a multiple of the stride, and more than it by an even number, half of which is padding.
    """
    if kernel % stride == 0 and (kernel - stride) % 2 == 0:
        return kernel
    return (2 if stride % 2 == 0 else 3) * stride


def _layers(
    layer: nn.Module, norm: type[nn.BatchNorm1d | nn.BatchNorm2d], channels: int, batch_norm: bool, is_linear: bool
) -> list[nn.Module]:
    if is_linear:
        return [layer]
    return [layer, *([norm(channels)] if batch_norm else []), nn.ReLU()]

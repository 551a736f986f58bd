"""Build networks for super-resolution by spec: convolutions at the size of the input, then pixels out of channels.

    conv64k5bn conv32x2bn shuffle2      twice the height and width

This follows W. Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
network" (2016), with one difference: what the network computes is added to the bicubic enlargement of its input, so that it
need only learn what that lacks.
"""

from __future__ import annotations

from torch import Tensor, nn

from avizor_export.architectures.map_sizes import Shape, map_after
from avizor_export.architectures.spec_grammar import map_layers, parse_words


class SuperResolution(nn.Module):
    """Enlarges float32[batch, channels, height, width] -> float32[batch, channels, times * height, times * width].

    The words are those of spec_grammar.py, of which conv and drop make sense here; the last is shuffle<times>. Before training
    it gives the bicubic enlargement. Raises ValueError naming the word that is wrong.
    """

    def __init__(self, spec: str, shape: Shape) -> None:
        super().__init__()
        tokens = parse_words(spec)
        words, last = tokens[:-1], tokens[-1]
        if last.kind != "shuffle" or last.size() < 2 or not words:
            raise ValueError(f"the spec {spec!r} is not one of super-resolution; write it as in `conv64k5 conv32 shuffle2`")
        for token in words:
            if token.kind not in ("conv", "drop"):
                raise ValueError(f"{token.text!r}: super-resolution is made of conv and drop before its {last.text}")
        self.times = last.size()
        self.body = map_layers(words, shape[0], 2)
        channels, *size = map_after(self.body, shape)
        if tuple(size) != tuple(shape[1:]):
            raise ValueError(
                f"the convolutions of {spec!r} change the map's size; leave out strides, and padding but half a kernel"
            )
        self.last = nn.Conv2d(channels, shape[0] * self.times**2, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        self.shuffle = nn.PixelShuffle(self.times)

    def forward(self, image: Tensor) -> Tensor:
        """Return the enlarged image."""
        detail: Tensor = self.shuffle(self.last(self.body(image)))
        return detail + nn.functional.interpolate(image, scale_factor=float(self.times), mode="bicubic")

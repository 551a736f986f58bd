"""Tell how many times as high and wide as its features a reconstruction is."""

from __future__ import annotations

from collections.abc import Sequence

from avizor_inference.errors import ExportError


def enlargement(features: Sequence[int], reconstruction: Sequence[int]) -> int:
    """Return how many times as high and wide as its features a reconstruction is. Both shapes are of one item.

    Raises ExportError unless the shapes are equal (1), or differ in height and width by one whole factor.
    """
    if tuple(features) == tuple(reconstruction):
        return 1
    if len(features) == len(reconstruction) == 3 and features[0] == reconstruction[0]:
        (height, width), (high, wide) = features[1:], reconstruction[1:]
        if high % height == 0 and high // height == wide / width:
            return high // height
    raise ExportError(
        f"the network returns {list(reconstruction)} for features of {list(features)}; an autoencoder returns the shape of "
        "its input (usually, a size that its strides do not divide is the reason), super-resolution a whole multiple of its "
        "height and width"
    )

"""Say which places of a row are hidden, and what is put there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from avizor_inference.errors import InvalidInput
from avizor_inference.items.input_spec import InputSpec

By = Literal["time", "frequency", "both"]

# What may be put over a hidden place, by modality; the first is the default. Besides, most take a number.
FILLS: dict[str, tuple[str, ...]] = {
    "image": ("mean", "blur", "black"),
    "audio": ("mean", "silence"),
    "signal": ("mean", "usual"),
    "table": ("usual", "missing"),
    "tensor": ("mean", "zero"),
}
# What a number is, where one may be given, and its range.
_NUMBERS: dict[str, tuple[str, float, float]] = {
    "image": ("level from 0 to 255", 0, 255),
    "audio": ("change of the level in dB, below 0", -300, -1e-6),
    "signal": ("value in the signal's unit", -3.4e38, 3.4e38),
    "tensor": ("value", -3.4e38, 3.4e38),
}


@dataclass(frozen=True)
class HidingSettings:
    """Says how parts of a row are hidden. What is left out depends on the size of the row.

    size, stride: of the windows: one number, or two for height and width. In pixels for images; in seconds or Hz for sound, by
    both Hz and seconds; in seconds for a signal, or in samples where it has no sample rate. fill: a name of FILLS, or a number.
    by: for sound, what is hidden: stretches of time, bands of frequency, or a band in a stretch.
    """

    size: tuple[float, ...] = ()
    stride: tuple[float, ...] = ()
    fill: str | float | None = None
    by: By | None = None


# All by the size of the row.
DEFAULT = HidingSettings()


def chosen_fill(spec: InputSpec, fill: str | float | None) -> str | float:
    """Return what is put over a hidden place: a name of FILLS, or a number. Raises InvalidInput for any other."""
    names, number = FILLS[spec.modality], _NUMBERS.get(spec.modality)
    if fill is None:
        return names[0]
    if isinstance(fill, str) and fill in names:
        return fill
    value = _number(fill)
    if number is not None and number[1] <= value <= number[2]:
        return value
    known = ", ".join(names) + (f", or a {number[0]}" if number else "")
    raise InvalidInput(f"fill {fill!r} is not for a model that takes {spec.modality}; give {known}")


def _number(fill: str | float) -> float:
    try:
        return float(fill)
    except ValueError:
        return math.nan

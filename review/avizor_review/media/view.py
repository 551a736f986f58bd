"""Hold what of an item is shown: its picture, the error over it, its sound, its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from avizor_inference.arrays import Floats, Samples
from avizor_review.media.pixels import overlay_png
from avizor_review.media.sound_bytes import SoundFormat, encode_sound


class Scale(NamedTuple):
    """Says what the edges of a picture stand for. ticks: further values, each with its place from the low edge, 0 to 1."""

    low: float
    high: float
    unit: str
    ticks: tuple[tuple[float, float], ...] = ()


class Strip(NamedTuple):
    """Holds the name of one channel of a signal, and its lowest and highest value in the picture, in the signal's own unit."""

    name: str
    low: float
    high: float


class Cell(NamedTuple):
    """Holds one column of a row of a table, with the share of the row's error that is its own; None where it is not known."""

    name: str
    value: str
    error: float | None = None


@dataclass(frozen=True, eq=False)
class Sound:
    """Holds float32[channels, samples] as the model heard it."""

    samples: Samples
    sample_rate: int

    @property
    def seconds(self) -> float:
        """Return how long it is."""
        return float(self.samples.shape[1] / self.sample_rate)

    def encoded(self, format: SoundFormat) -> bytes:
        """Return it as a file."""
        return encode_sound(self.samples, self.sample_rate, format)


@dataclass(frozen=True, eq=False)
class View:
    """Holds what is shown of one row of an item.

    picture: a PNG, or a JPEG of a large photograph: a spectrogram with its lowest frequency at the bottom, a picture, the lines
    of a signal. map: float[height, width] >= 0, the first row on top, of any resolution: where the error is, or what speaks for
    the class that map_of names; `no_map` says why there is none. x, y: what its edges stand for. mark: where the row that is
    looked at begins and ends, of the width, 0 to 1. strips: the channels of a signal, from the top. cells: of a row of a table.
    others: columns of that row which the model does not take, as the number of a booking. sound: as the model heard it.
    recorded_rate: the sample rate of its file in Hz; None where it has no file of its own.
    """

    picture: bytes | None = None
    map: Floats | None = None
    map_of: str = ""
    no_map: str = ""
    x: Scale | None = None
    y: Scale | None = None
    mark: tuple[float, float] | None = None
    strips: tuple[Strip, ...] = ()
    cells: tuple[Cell, ...] = ()
    others: tuple[Cell, ...] = ()
    sound: Sound | None = None
    recorded_rate: int | None = None

    def overlay(self, strongest: float | None = None) -> bytes | None:
        """Return the map as a PNG that is laid over the picture; None without a map.

        strongest: the value with the strongest colour, so that two items can be compared; None for the largest of the map.
        """
        return None if self.map is None else overlay_png(self.map, strongest)

    @property
    def picture_type(self) -> str:
        """Return the media type of the picture."""
        return "image/jpeg" if self.picture and self.picture.startswith(b"\xff\xd8") else "image/png"

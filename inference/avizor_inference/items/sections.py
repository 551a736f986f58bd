"""Say which frames and windows of a long sound a section has, so that its sections together have what the whole sound has.

The n windows of a format are divided evenly by their numbers, and so are the frames: section k of `of` has those from
k * n // of up to (k + 1) * n // of, and the last section also has what the header does not tell. To give the samples of its
first window as a straight reading does, a section is read from a little before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple

from avizor_inference.arrays import Samples
from avizor_inference.items.windows import Range, WindowFormat

# Samples, at the lower of the two rates, that a resampler hears before the first one that counts: its filter reaches back over
# less than 100.
_RUN_IN = 128


class Section(NamedTuple):
    """Names one of the sections that a long sound is cut into, by its number from 0."""

    number: int
    of: int

    @property
    def is_last(self) -> bool:
        """Return whether no section comes after it."""
        return self.number == self.of - 1

    def of_count(self, count: int) -> tuple[int, int | None]:
        """Return which of so many things it has: the number of the first, and that after the last, or None for the rest."""
        return self.number * count // self.of, None if self.is_last else (self.number + 1) * count // self.of


WHOLE = Section(0, 1)


@dataclass(frozen=True)
class Cut:
    """Holds where in a sound a section is. frames: of the sound, as its header tells. sample_rate: of the sound, in Hz."""

    section: Section
    frames: int
    sample_rate: int

    def first_frame(self, formats: list[WindowFormat]) -> int:
        """Return the frame from which it is read for these formats: 0, or a whole second if a format has another rate.

        At whole seconds a frame of the sound and a sample at any rate, which is a whole number of Hz, are at the same time.
        """
        own, _ = self.section.of_count(self.frames)
        rates = {self._rate(format) for format in formats}
        first = min([own, *(floor(self._start(format) * self.sample_rate / self._rate(format)) for format in formats)])
        if rates == {self.sample_rate}:
            return first
        run_in_s = ceil(_RUN_IN / min(*rates, self.sample_rate))
        return max(0, first // self.sample_rate - run_in_s) * self.sample_rate

    def reach(self, format: WindowFormat, first_frame: int) -> Range:
        """Return which windows of a format it has, if samples come from `first_frame` on."""
        first, end = self.section.of_count(self._windows(format))
        return Range(first_frame * self._rate(format) // self.sample_rate, first, end)

    def own(self, block: Samples, position: int) -> Samples:
        """Return the frames of a block that it has itself: each frame of a sound is in one section. position: of the block."""
        first, end = self.section.of_count(self.frames)
        return block[max(0, first - position) : None if end is None else max(0, end - position)]

    def is_read(self, position: int) -> bool:
        """Return whether all of its own frames are before this position."""
        _, end = self.section.of_count(self.frames)
        return end is not None and position >= end

    def _start(self, format: WindowFormat) -> int:
        """Return the sample of a format from which it needs them: the window before its first may share the last one's end."""
        first, _ = self.section.of_count(self._windows(format))
        return max(0, first - 1) * format.hop

    def _windows(self, format: WindowFormat) -> int:
        return format.windows_in(floor(self.frames * self._rate(format) / self.sample_rate + 0.5))

    def _rate(self, format: WindowFormat) -> int:
        return int(format.sample_rate or self.sample_rate)

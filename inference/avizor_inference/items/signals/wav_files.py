"""Read the samples of a WAV file as a signal: floats as they are, whole numbers as shares of their full scale."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import numpy as np

from avizor_inference.errors import MediaError
from avizor_inference.items.audio_file import AudioFile
from avizor_inference.items.resampler import Resampler
from avizor_inference.items.signals.layout import Block, Layout

# RIFF, its other byte order, its forms for large files, and Sony's.
MAGICS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff")


def read_wav(file: BinaryIO, layout: Layout) -> Iterator[Block]:
    """See Reader. Where the model has a sample rate, and the file another one, it is resampled."""
    with AudioFile(file, least_rate=1) as sound:
        if sound.channels != layout.channels:
            raise MediaError(f"the file has {sound.channels} channels; the model takes {layout.channels}")
        resampler = Resampler(sound.sample_rate, layout.sample_rate or sound.sample_rate, sound.channels)
        nothing = np.zeros((0, sound.channels), dtype=np.float32)
        for block, last in chain(((block, False) for block in sound.blocks()), [(nothing, True)]):
            yield resampler.push(block, last)

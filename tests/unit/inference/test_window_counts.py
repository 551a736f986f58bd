"""The number of windows that a length tells is the number that is cut."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from support.sounds import SOUND

from avizor_inference.errors import MediaError
from avizor_inference.items.audio import count_windows, windows_of
from avizor_inference.items.decode import decode_item
from avizor_inference.items.kinds.audio import SoundFile
from avizor_inference.items.windows import ChannelMode, Windower, WindowFormat


@given(samples=st.integers(0, 60), window=st.integers(1, 20), hop=st.integers(1, 20))
def test_a_length_tells_how_many_windows_are_cut(samples: int, window: int, hop: int) -> None:
    format = WindowFormat(None, window, min(hop, window))
    windower = Windower(format, 1)
    cut = [*windower.push(np.zeros((samples, 1), np.float32)), *windower.finish()]
    assert format.windows_in(samples) == len(cut)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
@pytest.mark.parametrize("frames", [7, 4096, 4097, 65537, 70001])
def test_a_header_tells_how_many_windows_a_sound_has(rate: int, frames: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros((frames, 2), np.int16), rate, format="WAV")
    format = WindowFormat(8000, 512, 200)
    assert count_windows(file, format) == len(list(windows_of(file, [format])))
    assert count_windows(file, format, channels="mix") == len(list(windows_of(file, [format], channels="mix")))


@pytest.mark.parametrize("channels", ["each", "mix", 1])
def test_a_file_of_sound_has_as_many_rows_as_it_says(channels: ChannelMode) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros((20_000, 3), np.int16), 16_000, format="WAV")
    content = SoundFile(file.getvalue()).taking(channels)
    assert content.count_rows(SOUND) == len(decode_item(content, SOUND).rows)


def test_a_header_that_would_be_refused_is() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros((100, 2), np.int16), 8000, format="WAV")
    with pytest.raises(MediaError, match="the recording has 2 channels, and the model takes 3 together"):
        count_windows(file, WindowFormat(8000, 512, 512, channels=3))

"""sound_stream.py: however the chunks are cut, the windows are those of the same sound in a file."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from avizor_inference.errors import MediaError
from avizor_inference.items.audio import windows_of
from avizor_inference.items.sound_stream import PcmEncoding, SoundStream
from avizor_inference.items.windows import Window, WindowFormat


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The data cut at these places, which may be equal."""
    ends = [*sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in zip([0, *ends], ends, strict=False):
        yield data[start:end]


def windows_of_stream(stream: SoundStream, chunks: Iterator[bytes], most: int = 3) -> list[Window]:
    found: list[Window] = []
    for groups in (group for chunk in chunks for group in stream.push(chunk, most)), stream.finish(most):
        for group in groups:
            assert len(group) <= most
            found += group
    return found


@settings(max_examples=60)
@given(
    st.sampled_from(["s16le", "f32le"]),
    st.sampled_from([(8000, 8000), (44100, 8000), (8000, 22050), (48000, 16000)]),
    st.sampled_from([(1, 1), (2, 1), (2, 2), (3, 1)]),
    st.integers(1, 5000),
    st.sampled_from([(800, 800), (800, 300)]),
    st.lists(st.integers(0, 20_000), max_size=12),
)
def test_windows_are_those_of_a_file(
    encoding: PcmEncoding,
    rates: tuple[int, int],
    channels: tuple[int, int],
    frames: int,
    cut: tuple[int, int],
    cuts: list[int],
) -> None:
    samples = np.random.default_rng(frames).normal(0, 0.5, (frames, channels[0]))
    file, format = io.BytesIO(), WindowFormat(rates[1], *cut, channels[1])
    pcm = np.round(np.clip(samples, -1, 0.999) * 32768).astype("<i2") if encoding == "s16le" else samples.astype("<f4")
    soundfile.write(file, pcm, rates[0], format="WAV", subtype="PCM_16" if encoding == "s16le" else "FLOAT")
    file.seek(0)
    stream = SoundStream(format, encoding, rates[0], channels[0])
    try:
        expected = [window for _, window in windows_of(file, [format])]
    except MediaError:  # less than one sample at the model's rate
        expected = []
    found = windows_of_stream(stream, pieces(pcm.tobytes(), cuts))
    assert [each[:2] + each[3:] for each in found] == [each[:2] + each[3:] for each in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.samples, other.samples, atol=1e-6)
    assert stream.frames == frames


def test_channels_are_mixed_on_request() -> None:
    samples = np.random.default_rng(0).normal(0, 0.3, (2000, 2)).astype("<f4")
    mixed = SoundStream(WindowFormat(8000, 800, 800), "f32le", 8000, 2, mix=True)
    found = windows_of_stream(mixed, iter([samples.tobytes()]))
    assert [(each.channel, each.start_sample) for each in found] == [(0, 0), (0, 800), (0, 1200)]
    np.testing.assert_allclose(found[0].samples, samples[:800].mean(axis=1), atol=1e-6)
    both = SoundStream(WindowFormat(8000, 800, 800, channels=2), "f32le", 8000, 2, mix=True)
    assert windows_of_stream(both, iter([samples.tobytes()]))[0].samples.shape == (2, 800)  # it takes them together


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\0" * 5, "the stream ends after 1 of the 4 bytes of a sample of 2 channels"),
        (np.array([0, np.nan], "<f4").tobytes(), "a sample after 0 of the stream is not a finite number"),
        (np.full(4000, 3e38, "<f4").tobytes(), "too large to be resampled"),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes, says: str) -> None:
    encoding: PcmEncoding = "s16le" if len(data) == 5 else "f32le"
    stream = SoundStream(WindowFormat(16000, 800, 800), encoding, 8000, 2)
    with pytest.raises(MediaError, match=says):
        windows_of_stream(stream, iter([data]))


@pytest.mark.parametrize(
    ("rate", "channels", "wanted", "says"),
    [
        (999, 1, 1, "sample_rate is 999 Hz; sound is read from 1000 Hz on"),
        (2_000_000, 1, 1, "cannot be resampled"),
        (8000, 65, 1, "65 channels; 1 to 64 are read"),
        (8000, -1, 1, "-1 channels"),
        (8000, 1, 2, "the stream has 1 channels, and the model takes 2 together"),
    ],
)
def test_a_stream_that_the_model_cannot_hear_is_refused(rate: int, channels: int, wanted: int, says: str) -> None:
    with pytest.raises(MediaError, match=says):
        SoundStream(WindowFormat(8000, 800, 800, wanted), "s16le", rate, channels)

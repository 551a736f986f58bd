"""items/sections.py: the sections of a long sound together have the windows and the level of the whole sound."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from support.encoded_sounds import encoded, patched, sound
from support.sounds import SOUND

from avizor_inference.errors import MediaError
from avizor_inference.items.audio import Level, windows_of
from avizor_inference.items.decode import decode_item
from avizor_inference.items.kinds.audio import SoundFile
from avizor_inference.items.sections import Section
from avizor_inference.items.windows import ChannelMode, Window, WindowFormat

RATE = 8000


def of_sections(
    data: bytes, formats: Sequence[WindowFormat], of: int, channels: ChannelMode = "each"
) -> tuple[dict[WindowFormat, list[Window]], Level]:
    """Return the windows of all sections, and the level of all together."""
    windows: dict[WindowFormat, list[Window]] = {format: [] for format in formats}
    whole = Level()
    for number in range(of):
        level = Level()
        for format, window in windows_of(io.BytesIO(data), formats, level, section=Section(number, of), channels=channels):
            windows[format].append(window)
        whole.samples, whole.beyond = whole.samples + level.samples, whole.beyond + level.beyond
        whole.peak = max(whole.peak, level.peak)
    return windows, whole


def straight(
    data: bytes, formats: Sequence[WindowFormat], channels: ChannelMode = "each"
) -> tuple[dict[WindowFormat, list[Window]], Level]:
    windows: dict[WindowFormat, list[Window]] = {format: [] for format in formats}
    level = Level()
    for format, window in windows_of(io.BytesIO(data), formats, level, channels=channels):
        windows[format].append(window)
    return windows, level


def same(ours: Sequence[Window], wanted: Sequence[Window], within: float = 0.0) -> None:
    assert [each[:2] + each[3:] for each in ours] == [each[:2] + each[3:] for each in wanted]
    for one, other in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(one.samples, other.samples, rtol=0, atol=within)


@settings(deadline=None, max_examples=25)
@given(
    frames=st.integers(1, 400),
    window=st.integers(1, 90),
    hop=st.integers(1, 90),
    of=st.integers(1, 12),
    channels=st.integers(1, 3),
)
def test_at_the_rate_of_the_sound_the_windows_are_bit_for_bit_those_of_the_whole(
    frames: int, window: int, hop: int, of: int, channels: int
) -> None:
    samples = 1.5 * np.random.default_rng(frames).standard_normal((frames, channels))
    data = encoded("WAV", "FLOAT", samples.astype(np.float32), RATE)
    formats = [WindowFormat(RATE, window, min(hop, window)), WindowFormat(RATE, 37, 11)]
    if channels > 1:
        formats.append(WindowFormat(RATE, window, min(hop, window), channels))
    expected, level = straight(data, formats)
    windows, whole = of_sections(data, formats, of)
    for format in formats:
        same(windows[format], expected[format])
    assert (whole.samples, whole.beyond, whole.peak) == (level.samples, level.beyond, level.peak)


@pytest.mark.parametrize(
    "rates", [(8000, 8000), (16000, 8000), (44100, 16000), (8000, 22050), (48000, 1000), (1000, 11025), (1000, 20)]
)
def test_resampled_windows_are_those_that_soundfile_and_soxr_give_to_a_straight_reading(rates: tuple[int, int]) -> None:
    rate, model_rate = rates
    samples = sound(rate * max(7, 600 // model_rate) + 77)[:, None] * [[1, -0.5]]
    data = encoded("WAV", "PCM_24", samples, rate)
    formats = [WindowFormat(model_rate, model_rate, model_rate // 3), WindowFormat(rate, 700, 700)]
    windows, _ = of_sections(data, formats, 5)
    read, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    by_soxr = np.clip(soxr.resample(read, rate, model_rate, "HQ") if rate != model_rate else read, -1, 1)
    for window in windows[formats[0]]:
        wanted = by_soxr[window.start_sample : window.start_sample + window.length, window.channel]
        np.testing.assert_allclose(window.samples, wanted, rtol=0, atol=2e-6)
    expected, _ = straight(data, formats)
    same(windows[formats[0]], expected[formats[0]], within=2e-6)
    same(windows[formats[1]], expected[formats[1]])
    mixed, _ = of_sections(data, formats[:1], 5, channels="mix")
    same(mixed[formats[0]], straight(data, formats[:1], channels="mix")[0][formats[0]], within=2e-6)


@pytest.mark.parametrize(
    ("kind", "subtype", "is_cut"),
    [
        *[(kind, "PCM_16", True) for kind in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "FLAC")],
        ("WAV", "ULAW", True),
        ("AU", "ALAW", True),
        ("WAV", "PCM_U8", True),
        ("AIFF", "FLOAT", True),
        ("CAF", "ALAC_16", False),
        ("WAV", "IMA_ADPCM", False),
        ("OGG", "VORBIS", False),
        ("MP3", "MPEG_LAYER_III", False),
    ],
)
def test_what_cannot_be_sought_is_read_whole_by_the_first_section(kind: str, subtype: str, is_cut: bool) -> None:
    data = encoded(kind, subtype)
    formats = [WindowFormat(16000, 1000, 400)]
    windows, _ = of_sections(data, formats, 4)
    same(windows[formats[0]], straight(data, formats)[0][formats[0]])
    counts = [len(list(windows_of(io.BytesIO(data), formats, section=Section(number, 4)))) for number in range(4)]
    assert (counts[1] > 0) == is_cut
    assert sum(counts) == len(windows[formats[0]])


def test_samples_of_mp3_and_ogg_after_a_seek_are_not_those_of_a_straight_reading() -> None:
    """So these are never cut. If this fails one day, libsndfile has become exact, and they might be."""
    for kind, subtype in (("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")):
        data = encoded(kind, subtype)
        read, _ = soundfile.read(io.BytesIO(data), dtype="float32")
        differ = False
        for frame in range(1, len(read) - 500, 997):
            with soundfile.SoundFile(io.BytesIO(data)) as file:
                file.seek(frame)
                part = file.read(500, dtype="float32")
                differ |= not np.array_equal(part, read[frame : frame + 500])
        assert differ, kind


def told(data: bytes, frames: int) -> bytes:
    """Return a FLAC file whose header says that it has so many frames."""
    (field,) = [int.from_bytes(data[18:26], "big")]
    return patched(data, 18, (field & ~(2**36 - 1) | frames).to_bytes(8, "big"))


def test_a_flac_file_that_says_too_few_frames_is_read_to_its_end_and_one_that_says_too_many_is_refused() -> None:
    data, formats = encoded("FLAC"), [WindowFormat(16000, 1000, 400)]
    expected = straight(data, formats)[0][formats[0]]
    same(of_sections(told(data, 20_000), formats, 4)[0][formats[0]], expected)
    same(of_sections(told(data, 0), formats, 4)[0][formats[0]], expected)
    with pytest.raises(MediaError):
        of_sections(told(data, 60_000), formats, 4)


def test_a_damaged_frame_of_flac_costs_the_file() -> None:
    data = bytearray(encoded("FLAC"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(MediaError):
        of_sections(bytes(data), [WindowFormat(16000, 1000, 400)], 3)


def test_a_file_that_has_become_shorter_is_refused() -> None:
    data = encoded("WAV")
    with pytest.raises(MediaError, match="cut off"):
        of_sections(data[:-1000], [WindowFormat(16000, 1000, 400)], 3)


def test_files_that_can_be_sought_exactly_are_cut_into_sections() -> None:
    assert SoundFile.suffixes_of_sections >= {".wav", ".flac"}
    assert not SoundFile.suffixes_of_sections & {".mp3", ".ogg", ".m4a"}


@pytest.mark.parametrize("channels", ["each", "mix", 1])
def test_sections_of_a_file_have_each_row_of_it_once(channels: ChannelMode) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (30_000, 2)).astype(np.float32)
    whole = SoundFile(encoded("WAV", "FLOAT", samples, RATE)).taking(channels)
    sections = [decode_item(whole.of_section(Section(number, 3)), SOUND) for number in range(3)]
    expected = decode_item(whole, SOUND)
    assert [span for each in sections for span in each.spans] == list(expected.spans)
    np.testing.assert_array_equal(np.concatenate([each.rows for each in sections]), expected.rows)

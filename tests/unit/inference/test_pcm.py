"""items/pcm.py and channel modes: raw PCM gives the windows of a WAV file, and channels are mixed down on request."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.sounds import SOUND

from avizor_inference.errors import InvalidInput, MediaError
from avizor_inference.items.audio import Level, windows_of
from avizor_inference.items.decode import Item, decode_item
from avizor_inference.items.input_spec import AudioInput, WaveformFrontEnd
from avizor_inference.items.kinds.audio import PcmSound, SoundFile
from avizor_inference.items.windows import WindowFormat

STEREO = AudioInput(
    sample_rate=8000, window_samples=4096, hop_samples=2048, channels=2, front_end=WaveformFrontEnd(layout="NCS")
)


def noise(frames: int, channels: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).uniform(-1, 1, (frames, channels)) * 32767).astype("<i2")


def wav(samples: np.ndarray, rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16" if samples.dtype.kind == "i" else "FLOAT")
    return buffer.getvalue()


def assert_same(one: Item, other: Item) -> None:
    np.testing.assert_array_equal(one.rows, other.rows)
    assert (one.spans, one.is_short, one.level) == (other.spans, other.is_short, other.level)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 1), (16000, 2), (11025, 3), (4000, 1), (48000, 8)])
def test_pcm_has_the_windows_of_the_wav_file_with_the_same_samples(rate: int, channels: int) -> None:
    samples = noise(70000, channels)  # more than one block is read at a time
    for pcm, kind in ((samples, "s16le"), (1.5 * samples.astype("<f4") / 32768, "f32le")):
        for mode in ("each", "mix"):
            file = SoundFile(wav(pcm, rate), channel_mode=mode)
            assert_same(
                decode_item(PcmSound(kind, rate, channels, pcm.tobytes(), channel_mode=mode), SOUND), decode_item(file, SOUND)
            )


def test_without_format_and_channels_it_is_16_bits_and_one_channel() -> None:
    samples = noise(5000, 1)
    explicit = decode_item(PcmSound("s16le", 8000, 1, samples.tobytes()), SOUND)
    assert_same(decode_item(PcmSound("", 8000, 0, samples.tobytes()), SOUND), explicit)
    np.testing.assert_array_equal(explicit.rows[0], samples[:4096, 0] / np.float32(32768))


@pytest.mark.parametrize(
    ("pcm", "field", "message"),
    [
        (PcmSound("7", 8000, 1, b"12"), "pcm.format", "PCM format 7 is not known; send s16le or f32le"),
        (PcmSound("s16le", 0, 1, b"12"), "pcm.sample_rate", "a sample rate of 0 Hz; this model takes 1000 to 512000"),
        (PcmSound("s16le", 999, 1, b"12"), "pcm.sample_rate", "999 Hz"),
        (PcmSound("s16le", 512001, 1, b"12"), "pcm.sample_rate", "512001 Hz"),
        (PcmSound("s16le", 8000, -1, b"12"), "pcm.channels", "-1 channels; sound has 1 to 64"),
        (PcmSound("s16le", 8000, 65, b"12"), "pcm.channels", "65 channels"),
        (PcmSound("s16le", 8000, 2, b"123456"), "pcm.data", "6 bytes are not a whole number of samples of 2 channels"),
        (PcmSound("f32le", 8000, 1, b"123"), "pcm.data", "which take 4"),
    ],
)
def test_pcm_that_cannot_be_read_names_the_field(pcm: PcmSound, field: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        decode_item(pcm, SOUND)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "holds no samples"), (np.array([0, np.nan], "<f4").tobytes(), "a sample after frame 0 is not a finite number")],
)
def test_pcm_without_sound_in_it_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        decode_item(PcmSound("f32le", 8000, 1, data), SOUND)


def test_mixing_takes_the_mean_of_the_channels() -> None:
    samples = noise(9000, 3)
    mixed = decode_item(SoundFile(wav(samples, 8000)).taking("mix"), SOUND)
    mean = (samples / np.float32(32768)).mean(axis=1)
    assert [span.channel for span in mixed.spans if span] == [0, 0, 0]
    np.testing.assert_allclose(np.concatenate(mixed.rows[:2]), mean[:8192], atol=1e-6)
    each = decode_item(SoundFile(wav(samples, 8000)), SOUND)
    assert len(each.rows) == 9
    assert mixed.level == each.level  # the loudness of the file
    assert_same(decode_item(PcmSound("s16le", 8000, 3, samples.tobytes()).taking("mix"), SOUND), mixed)


def test_one_channel_is_chosen_by_its_number() -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, (9000, 2)).astype(np.float32)
    chosen = decode_item(SoundFile(wav(samples, 8000)).taking(1), SOUND)
    alone = decode_item(SoundFile(wav(samples[:, 1:], 8000)), SOUND)
    assert [span.channel for span in chosen.spans if span] == [1, 1, 1]
    np.testing.assert_array_equal(chosen.rows, alone.rows)
    with pytest.raises(MediaError, match="has 2 channels, and channel 2, counted from 0, is to be taken"):
        decode_item(SoundFile(wav(samples, 8000)).taking(2), SOUND)


def test_a_model_that_takes_channels_together_ignores_mixing() -> None:
    samples = noise(9000, 2)
    content = PcmSound("s16le", 8000, 2, samples.tobytes())
    assert_same(decode_item(content.taking("mix"), STEREO), decode_item(content, STEREO))


def test_one_reading_serves_models_that_mix_and_models_that_do_not(tmp_path: Path) -> None:
    (tmp_path / "sound.wav").write_bytes(wav(noise(20000, 2), 16000))
    formats = [SOUND.window_format(), STEREO.window_format(), WindowFormat(16000, 4096, 4096)]
    level = Level()
    together = list(windows_of(tmp_path / "sound.wav", formats, level, channels="mix"))
    assert level.samples == 40000
    for format in formats:
        alone = windows_of(tmp_path / "sound.wav", [format], channels="mix")
        for (_, one), (_, other) in zip((each for each in together if each[0] == format), alone, strict=True):
            np.testing.assert_array_equal(one.samples, other.samples)


def test_a_moment_of_pcm_is_decoded_at_once_and_an_hour_is_not() -> None:
    moment, hour = (PcmSound("s16le", 8000, 1, bytes(2 * 8000 * seconds)) for seconds in (4, 3600))
    assert (moment.is_media, hour.is_media) == (False, True)

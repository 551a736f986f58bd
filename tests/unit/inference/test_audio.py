"""items/audio.py: sound files are read in blocks, resampled, and refused with the reason."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.sounds import tone, write_wav

from avizor_inference.errors import MediaError
from avizor_inference.items.audio import Level, windows_of
from avizor_inference.items.resampler import Resampler
from avizor_inference.items.windows import WindowFormat


def test_windows_of_a_file_at_its_own_rate(tmp_path: Path) -> None:
    samples = tone(1.0)
    path = write_wav(tmp_path / "a.wav", samples)
    windows = [window for _, window in windows_of(path, [WindowFormat(8000, 4000, 4000)])]
    joined = np.concatenate([window.samples for window in windows])
    np.testing.assert_allclose(joined, samples, atol=1 / 32768)


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_compressed_formats_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(1.0), 8000)
    (window, *_) = [window for _, window in windows_of(path, [WindowFormat(8000, 4000, 4000)])]
    spectrum = np.abs(np.fft.rfft(window.samples))
    assert np.argmax(spectrum) == 440 * 4000 // 8000


@pytest.mark.parametrize("rate", [16000, 11025, 4000])
def test_resampling_keeps_the_tone_and_the_length(tmp_path: Path, rate: int) -> None:
    path = write_wav(tmp_path / "a.wav", tone(20.0))  # longer than one block
    windows = [window for _, window in windows_of(path, [WindowFormat(rate, rate, rate)])]
    assert [window.start_sample for window in windows] == [rate * second for second in range(20)]
    for window in windows[1:-1]:
        assert np.argmax(np.abs(np.fft.rfft(window.samples))) == 440


def test_two_formats_from_one_decoding(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(1.0))
    formats = [WindowFormat(8000, 4000, 4000), WindowFormat(16000, 8000, 4000)]
    found = [(format, window.start_sample) for format, window in windows_of(path, formats)]
    assert [start for format, start in found if format == formats[0]] == [0, 4000]
    assert [start for format, start in found if format == formats[1]] == [0, 4000, 8000]


@pytest.mark.parametrize("rate", [8000, 16000])
def test_samples_beyond_full_scale_are_clipped_and_counted(tmp_path: Path, rate: int) -> None:
    path, loud, level = tmp_path / "loud.wav", tone(0.5) * 10, Level()
    soundfile.write(path, loud, 8000, subtype="FLOAT")
    for _, window in windows_of(path, [WindowFormat(rate, 4000, 4000)], level):
        assert np.abs(window.samples).max() == 1.0
    assert level.samples == 4000
    assert level.beyond == np.count_nonzero(np.abs(loud) > 1)
    assert level.peak == np.abs(loud).max()
    assert level.share_beyond == level.beyond / 4000


def test_what_a_filter_overshoots_is_not_beyond_the_full_scale_of_the_file(tmp_path: Path) -> None:
    square, level = np.sign(np.sin(np.arange(8000) / 20 + 0.01)), Level()
    soundfile.write(tmp_path / "square.wav", square, 8000, subtype="FLOAT")
    for _, window in windows_of(tmp_path / "square.wav", [WindowFormat(11025, 4000, 4000)], level):
        assert np.abs(window.samples).max() == 1.0
    assert (level.samples, level.beyond, level.peak) == (8000, 0, 1.0)


@pytest.mark.parametrize(("frames", "rate"), [(1, 48000), (2, 96000), (1, 44100)])
def test_a_recording_that_is_resampled_to_no_sample_is_refused(tmp_path: Path, frames: int, rate: int) -> None:
    soundfile.write(tmp_path / "tiny.wav", np.full(frames, 0.1), rate)
    with pytest.raises(MediaError, match=f"holds {frames} samples at {rate} Hz, less than one at the model's 8000 Hz"):
        read(tmp_path / "tiny.wav")


def test_one_sample_at_the_models_rate_is_a_window(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tiny.wav", np.full(1, 0.25), 8000)
    ((_, window),) = windows_of(tmp_path / "tiny.wav", [WindowFormat(8000, 4000, 4000)])
    assert (window.length, window.samples[0]) == (1, 0.25)


@pytest.mark.parametrize(("source", "target"), [(8000, 8000 * 64), (8000 * 64, 8000)])
def test_rates_are_converted_up_to_a_factor_of_64(source: int, target: int) -> None:
    Resampler(source, target, 1).push(np.zeros((1000, 1), np.float32), last=True)
    with pytest.raises(MediaError, match="the rates differ by more than a factor of 64"):
        Resampler(source + 8000 * (source > target), target + 8000 * (target > source), 1)


def read(path: Path) -> None:
    list(windows_of(path, [WindowFormat(8000, 4000, 4000)]))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is not sound")
    with pytest.raises(MediaError, match="not an audio file"):
        read(tmp_path / "text.wav")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(MediaError, match="not an audio file"):
        read(tmp_path / "empty.wav")
    with pytest.raises(MediaError, match="cannot be opened"):
        read(tmp_path / "gone.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 8000)
    with pytest.raises(MediaError, match="holds no samples"):
        read(tmp_path / "none.wav")


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    samples = tone(1.0)
    samples[5000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 8000, subtype="FLOAT")
    with pytest.raises(MediaError, match="not a finite number"):
        read(tmp_path / "nan.wav")


def test_a_flac_cut_short_says_where(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, tone(30.0, seed=1), 8000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError) as caught:
        read(path)
    assert 0 < caught.value.offset < 30 * 8000

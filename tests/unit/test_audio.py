from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import tone, write_wav

from avizor_inference.audio import find_audio, windows_of
from avizor_inference.errors import MediaError
from avizor_inference.windows import WindowFormat


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


def test_samples_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, tone(0.5) * 10, 8000, subtype="FLOAT")
    for _, window in windows_of(path, [WindowFormat(8000, 4000, 4000)]):
        assert np.abs(window.samples).max() == 1.0


def read(path: Path) -> None:
    list(windows_of(path, [WindowFormat(8000, 4000, 4000)]))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is not sound")
    with pytest.raises(MediaError, match="not an audio file"):
        read(tmp_path / "text.wav")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(MediaError, match="not an audio file"):
        read(tmp_path / "empty.wav")
    with pytest.raises(MediaError, match="not an audio file"):
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


def test_find_audio_is_sorted_skips_hidden_files_and_link_loops(tmp_path: Path) -> None:
    for name in ("b/2.wav", "a/1.FLAC", ".hidden/3.wav", "a/notes.txt", "4.mp3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in find_audio(tmp_path)] == ["4.mp3", "a/1.FLAC", "b/2.wav"]

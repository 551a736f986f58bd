"""containers/plain_wav.py: 16-bit WAV files with a plain header give the samples that soundfile reads, bit for bit."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from support.encoded_sounds import encoded, samples_of, sound

from avizor_inference.errors import MediaError
from avizor_inference.items.audio_file import AudioFile
from avizor_inference.items.containers.plain_wav import plain_wav


def is_plain(data: bytes) -> bool:
    return plain_wav(io.BytesIO(data), len(data)) is not None


def by_soundfile(data: bytes) -> np.ndarray:
    samples: np.ndarray = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]
    return samples


def wav(levels: np.ndarray, rate: int = 8000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, levels, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


@pytest.mark.parametrize(("frames", "channels"), [(65536, 1), (200_000, 1), (100_001, 2), (5000, 7), (1, 64)])
def test_every_level_is_what_soundfile_reads(frames: int, channels: int) -> None:
    levels = np.resize(np.arange(-32768, 32768), (frames, channels)).astype(np.int16)
    data = wav(levels)
    assert is_plain(data)
    np.testing.assert_array_equal(samples_of(data), by_soundfile(data), strict=True)


def test_every_recording_of_the_spoken_digits_is_what_soundfile_reads(shared_data: Path) -> None:
    paths = sorted((shared_data / "fsdd").glob("*.wav"))
    assert paths
    plain = 0
    for path in paths:
        data = path.read_bytes()
        plain += is_plain(data)
        np.testing.assert_array_equal(samples_of(data), by_soundfile(data), strict=True)
    assert plain > len(paths) / 2


@given(st.integers(0, 43), st.binary(min_size=1, max_size=4))
def test_a_changed_header_is_read_as_soundfile_reads_it_or_left_to_the_other_readers(place: int, field: bytes) -> None:
    whole = wav(np.arange(-50, 50, dtype=np.int16).reshape(-1, 1))
    data = whole[:place] + field[: 44 - place] + whole[place + len(field[: 44 - place]) :]
    if is_plain(data):
        (samples, rate) = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        found = plain_wav(io.BytesIO(data), len(data))
        assert found is not None
        assert (found.sample_rate, found.channels, found.frames) == (rate, *samples.shape[::-1])


@pytest.mark.parametrize(
    "data",
    [
        encoded("WAV", "FLOAT"), encoded("WAV", "PCM_24"), encoded("WAV", "PCM_U8"), encoded("WAV", "ULAW"), encoded("WAVEX"),
        encoded("WAV", endian="BIG"), encoded("RF64"), encoded("W64"), encoded("FLAC"), encoded("WAV") + b"LIST\4\0\0\0abcd",
        wav(np.zeros((0, 1), np.int16)), wav(np.zeros((9, 2), np.int16))[:-1], b"RIFF", b"",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_other_readers(data: bytes) -> None:
    assert not is_plain(data)


def test_a_header_that_says_more_or_less_than_there_is_is_refused_as_before() -> None:
    whole = encoded("WAV")
    for data in (whole[:-2], whole + bytes(range(1, 201)), whole[:40] + struct.pack("<I", 10) + whole[44:]):
        assert not is_plain(data)
        with pytest.raises(MediaError, match="WAV header says"):
            samples_of(data)


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("WAV", samples=np.tile(sound(), 5)))
    with AudioFile(path) as audio:
        blocks = audio.blocks()
        next(blocks)
        with path.open("r+b") as file:
            file.truncate(200_001)
        with pytest.raises(MediaError, match=r"the file ends after \d+ of 240000 frames"):
            list(blocks)

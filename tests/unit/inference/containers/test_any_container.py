"""containers/detect.py: limits that hold for every container."""

from __future__ import annotations

import io

import numpy as np
import pytest
from support.encoded_sounds import CHUNKED, ID3V1, ID3V2, RATE, encoded, frames_of, sound

from avizor_inference.errors import MediaError
from avizor_inference.items.audio_file import AudioFile


@pytest.mark.parametrize(
    ("channels", "rate", "reason"),
    [(1024, RATE, "has 1024 channels; at most 64 are read"), (1, 1, "says 1 Hz; sound is read from 1000 Hz on")],
)
def test_what_a_header_claims_is_bounded(channels: int, rate: int, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        frames_of(encoded("WAV", "PCM_16", np.zeros((3, channels), np.float32), rate))


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 10000, b"RIFF", b"RIFF\0\0\0\0WAVE", b"\xff\xfb", b"OggS", b"fLaC", b".snd",
                                  b"caff", b"NIST_1A\n", b"NIST_1A\n   9999999\n", ID3V2, ID3V1, bytes(100000)])  # fmt: skip
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(MediaError):
        frames_of(data)


def test_formats_that_are_not_named_do_not_reach_their_decoders() -> None:
    for kind in ("VOC", "SVX", "IRCAM", "MAT5", "XI", "HTK", "PAF"):
        with pytest.raises(MediaError):
            frames_of(encoded(kind, "DPCM_16" if kind == "XI" else "PCM_16"))


class _Failing(io.BytesIO):
    """A disk that fails at a place."""

    def __init__(self, data: bytes, place: int) -> None:
        super().__init__(data)
        self._place = place

    def read(self, size: int | None = -1) -> bytes:
        end = len(self.getbuffer()) if size is None or size < 0 else self.tell() + size
        if self.tell() < self._place + 20000 and self._place < end:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF"])
def test_a_disk_that_fails_is_not_the_end_of_the_file(kind: str) -> None:
    whole = encoded(kind, samples=np.concatenate([sound(seed=seed) for seed in range(20)]))
    with (
        pytest.raises(MediaError, match=r"reading failed after \d+ frames \(Input/output error\)"),
        AudioFile(_Failing(whole, len(whole) // 2)) as audio,
    ):
        list(audio.blocks())


@pytest.mark.parametrize("kind", [*CHUNKED, "FLAC", "OGG", "MP3"])
def test_no_damage_raises_anything_but_media_errors(kind: str) -> None:
    rng = np.random.default_rng(0)
    whole = encoded(kind, None if kind != "NIST" else "PCM_16", sound(4000))
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(0, min(len(data), 400), 3):
            data[place] = rng.integers(0, 256)
        try:
            frames = frames_of(bytes(data[: rng.integers(1, len(data) + 1)]))
        except MediaError:
            continue
        assert frames <= 40000

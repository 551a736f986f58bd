"""containers/mpeg.py: MP3 with and without the tag that counts its frames."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from support.encoded_sounds import ID3V1, ID3V2, RATE, encoded, frames_of, patched, samples_of

from avizor_inference.errors import MediaError

LOUD, QUIET = 0.3 * np.random.default_rng(0).standard_normal(96000), 1e-4 * np.random.default_rng(1).standard_normal(96000)


def mp3(parts: tuple[np.ndarray, ...] = (LOUD, QUIET), rate: int = RATE, channels: int = 1, mode: str = "VARIABLE") -> bytes:
    samples = np.concatenate(parts).astype(np.float32)[:, None].repeat(channels, axis=1)
    return encoded("MP3", "MPEG_LAYER_III", samples, rate, bitrate_mode=mode, compression_level=0.5)


def frame_starts(data: bytes) -> list[int]:
    """Positions of the frames of MPEG layer III, by the headers' fields."""
    rates = {0b11: (44100, 48000, 32000), 0b10: (22050, 24000, 16000)}
    kbits = {
        0b11: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
        0b10: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    }
    starts, position = [], 0
    while position < len(data):
        starts.append(position)
        version, field = data[position + 1] >> 3 & 3, data[position + 2]
        scale = 144 if version == 0b11 else 72
        position += scale * kbits[version][field >> 4] * 1000 // rates[version][field >> 2 & 3] + (field >> 1 & 1)
    return starts


def untagged(data: bytes) -> bytes:
    """Without the first frame, in which the encoder wrote the number of the others."""
    return data[frame_starts(data)[1] :]


@pytest.mark.parametrize("parts", [(LOUD, QUIET), (QUIET, LOUD)], ids=["loud_quiet", "quiet_loud"])
@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
def test_an_mp3_without_a_number_of_frames_is_heard_to_its_end(
    parts: tuple[np.ndarray, ...], rate: int, channels: int, mode: str
) -> None:
    whole = mp3(parts, rate, channels, mode)
    heard = samples_of(untagged(whole))
    samples = 1152 if rate > 32000 else 576
    assert abs(len(heard) - samples * (len(frame_starts(whole)) - 1)) <= 1152
    # Without the tag the encoder's delay is not taken off; nothing else differs.
    tagged = samples_of(whole)
    delay = next(
        shift for shift in range(4000) if np.allclose(heard[shift + 5000 : shift + 9000], tagged[5000:9000], atol=1e-4)
    )
    np.testing.assert_allclose(heard[delay : delay + 190000], tagged[:190000], atol=1e-3)


def test_an_mp3_with_its_tag_has_the_samples_that_were_encoded() -> None:
    assert len(samples_of(mp3())) == 192000


@pytest.mark.parametrize("between", [b"", ID3V1, ID3V2, ID3V1 + ID3V2])
def test_mp3_files_in_a_row_are_heard_all(between: bytes) -> None:
    whole = mp3()
    frames = 576 * 2 * len(frame_starts(whole))
    assert frames - 2000 < frames_of(whole + between + whole) <= frames


@pytest.mark.parametrize(
    "tag", [b"APETAGEX" + struct.pack("<II", 2000, 2**31) + bytes(16), b"ID3\4\0\0\x7a\0\0\0"], ids=["APE", "ID3"]
)
def test_sound_behind_a_tag_that_claims_more_than_there_is_is_not_left_out_in_silence(tag: bytes) -> None:
    with pytest.raises(MediaError, match=r"the tag at byte \d+ claims \d+ bytes, but only \d+ follow"):
        frames_of(mp3() + tag + mp3())


@pytest.mark.parametrize("claimed", [0, 10])
def test_an_mp3_whose_tag_says_too_little_is_heard_to_its_end(claimed: int) -> None:
    whole = mp3()
    tag = max(whole.find(b"Xing"), whole.find(b"Info"))
    heard = frames_of(patched(whole, tag + 8, struct.pack(">I", claimed)))
    assert 192000 <= heard <= 576 * len(frame_starts(whole))


def test_an_mp3_that_is_cut_or_damaged_is_refused() -> None:
    for whole in (mp3(), untagged(mp3())):
        starts = frame_starts(whole)
        for data, reason in (
            (whole[: starts[100] + 7], "ends within an MP3 frame after 100 whole ones: it was cut off"),
            (whole[: starts[100]] + b"\x11" * 300 + whole[starts[100] :], f"damaged at byte {starts[100]}"),
            (whole + b"\x11" * 300, f"damaged at byte {len(whole)}"),
        ):
            with pytest.raises(MediaError, match=reason):
                frames_of(data)


def test_an_mp3_that_was_cut_between_two_frames_is_told_by_its_tag() -> None:
    whole = mp3()
    with pytest.raises(MediaError, match="the file was cut off: its tag says 336 MP3 frames, but it has 99"):
        frames_of(whole[: frame_starts(whole)[100]])


def test_an_mp3_may_begin_within_a_frame_and_end_with_zeros() -> None:
    whole = mp3()
    assert frames_of(whole[frame_starts(whole)[3] + 5 :] + bytes(100000)) > 190000

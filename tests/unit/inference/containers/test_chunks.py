"""containers/wav_aiff_caf.py: WAV and similar files are read to their end despite wrong headers, or refused with the reason."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from support.encoded_sounds import CHUNKED, FRAMES, ID3V1, encoded, frames_of, patched, samples_of, sound

from avizor_inference.errors import MediaError


@pytest.mark.parametrize("kind", CHUNKED)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "ALAW"])
def test_a_file_that_is_whole_is_heard_whole(kind: str, subtype: str) -> None:
    assert frames_of(encoded(kind, subtype)) == FRAMES


@pytest.mark.parametrize("kind", CHUNKED)
@pytest.mark.parametrize("subtype", ["PCM_16", "ALAW"])
def test_a_file_that_was_cut_off_is_not_taken_for_a_short_one(kind: str, subtype: str) -> None:
    whole = encoded(kind, subtype)
    with pytest.raises(MediaError, match=r"was cut off: its \w+ header says \d+ bytes of sound, but it has \d+"):
        frames_of(whole[: len(whole) * 2 // 3])


@pytest.mark.parametrize("claimed", [2_100_000_000, 2_200_000_000, 3_000_000_000, 4_200_000_000])
def test_a_wav_of_gigabytes_that_was_cut_off_is_not_taken_for_an_unfinished_one(claimed: int) -> None:
    whole = encoded("WAV", "PCM_16")
    with pytest.raises(MediaError, match=f"was cut off: its WAV header says {claimed} bytes"):
        frames_of(patched(whole, whole.index(b"data") + 4, struct.pack("<I", claimed)))


def test_thousands_of_chunks_before_the_sound_are_refused() -> None:
    whole = encoded("WAV", "PCM_16")
    with pytest.raises(MediaError, match="more than 10000 chunks before its sound"):
        frames_of(whole[:12] + (b"junk" + bytes(4)) * 20_000 + whole[12:])
    assert frames_of(whole[:12] + (b"junk" + bytes(4)) * 100 + whole[12:]) == FRAMES


@pytest.mark.parametrize("kind", CHUNKED)
def test_sound_behind_what_the_header_accounts_for_is_not_left_out_in_silence(kind: str) -> None:
    with pytest.raises(MediaError, match="it was never finished, or the file was appended to"):
        frames_of(encoded(kind, "PCM_16") + b"\1\2" * 5000)


@pytest.mark.parametrize("claimed", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
@pytest.mark.parametrize("riff", [0, 8, 0xFFFFFFFF])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"])
def test_a_wav_whose_recorder_lost_power_or_wrote_into_a_pipe_is_read_to_its_end(claimed: int, riff: int, subtype: str) -> None:
    whole = encoded("WAV", subtype)
    cut = patched(patched(whole, 4, struct.pack("<I", riff)), whole.index(b"data") + 4, struct.pack("<I", claimed))
    np.testing.assert_array_equal(samples_of(cut), samples_of(whole))


def test_an_unfinished_wav_of_big_endian_is_read_to_its_end() -> None:
    whole = encoded("WAV", "PCM_16", endian="BIG")
    assert whole.startswith(b"RIFX")
    assert frames_of(patched(whole, whole.index(b"data") + 4, bytes(4))) == FRAMES


def test_an_unfinished_recording_of_silence_is_silence_and_not_nothing() -> None:
    whole = encoded("WAV", "PCM_16", np.zeros(FRAMES, np.float32))
    assert frames_of(patched(whole, whole.index(b"data") + 4, bytes(4))) == FRAMES


def test_a_wav_without_a_sample_holds_none() -> None:
    with pytest.raises(MediaError, match="holds no samples"):
        frames_of(encoded("WAV", "PCM_16", sound(0)))
    with pytest.raises(MediaError, match="holds no samples"):
        frames_of(encoded("WAV", "PCM_16", sound(0)) + b"LIST" + struct.pack("<I", 10) + bytes(10))


@pytest.mark.parametrize(
    "after",
    [b"LIST" + struct.pack("<I", 10) + b"\1" * 10, ID3V1, bytes(5000), b"\1", b"LIST" + struct.pack("<I", 3) + b"abc\0"],
)
@pytest.mark.parametrize("frames", [FRAMES, FRAMES - 1])
def test_what_follows_the_sound_of_a_wav_may_be_chunks_tags_or_padding(after: bytes, frames: int) -> None:
    whole = encoded("WAV", "PCM_U8", sound(frames))
    unpadded = whole[: whole.index(b"data") + 8 + frames]  # some writers leave out the byte that makes the size even
    assert frames_of(whole + after) == frames
    assert frames_of(unpadded + after) == frames


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AIFF", "CAF"])
def test_two_files_in_a_row_are_not_taken_for_one(kind: str) -> None:
    whole = encoded(kind, "PCM_16")
    with pytest.raises(MediaError, match=r"another file begins behind the sound|never finished, or the file was appended to"):
        frames_of(whole + whole)


def test_two_chunks_of_sound_are_refused() -> None:
    with pytest.raises(MediaError, match="more than one chunk of sound"):
        frames_of(encoded("WAV") + b"data" + struct.pack("<I", 1000) + b"\1" * 1000)


def test_sizes_that_a_format_has_for_unknown_are_read_to_the_end() -> None:
    au, caf = encoded("AU", "PCM_16"), encoded("CAF", "PCM_16")
    assert frames_of(patched(au, 8, b"\xff" * 4)) == FRAMES
    assert frames_of(patched(caf, caf.index(b"data") + 4, b"\xff" * 8)) == FRAMES


@pytest.mark.parametrize("claimed", [0, 100, 2**31])
def test_an_aiff_is_as_long_as_its_sound_whatever_its_number_of_frames(claimed: int) -> None:
    whole = encoded("AIFF", "PCM_16")
    assert frames_of(patched(whole, whole.index(b"COMM") + 10, struct.pack(">I", claimed))) == FRAMES


def test_a_size_of_nine_exabytes_is_refused_at_once() -> None:
    caf, w64 = encoded("CAF", "PCM_16"), encoded("W64", "PCM_16")
    huge = patched(w64, w64.index(b"data\xf3\xac") + 16, struct.pack("<Q", 2**64 - 1))
    for data in (patched(caf, caf.index(b"data") + 4, struct.pack(">Q", 2**63)), huge):
        with pytest.raises(MediaError, match="was cut off"):
            frames_of(data)


def test_zeros_behind_a_w64_are_not_heard_as_sound() -> None:
    assert frames_of(encoded("W64", "PCM_16") + bytes(1000)) == FRAMES

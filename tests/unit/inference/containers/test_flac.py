"""containers/flac.py and tags.py: FLAC files whose header has a wrong length, or none."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from support.encoded_sounds import FRAMES, ID3V1, ID3V2, encoded, frames_of, patched, samples_of

from avizor_inference.errors import MediaError


def without_samples(flac: bytes) -> bytes:
    """With 0 in STREAMINFO, which means that the number of samples is unknown."""
    return patched(patched(flac, 21, bytes([flac[21] & 0xF0])), 22, bytes(4))


def test_a_flac_of_unknown_length_is_decoded_whole() -> None:
    whole = encoded("FLAC")
    np.testing.assert_array_equal(samples_of(without_samples(whole)), samples_of(whole))


def test_a_flac_whose_header_says_too_few_samples_is_decoded_whole() -> None:
    whole = encoded("FLAC")
    assert frames_of(patched(without_samples(whole), 22, struct.pack(">I", 1000))) == FRAMES


def test_a_flac_whose_header_says_too_many_samples_is_a_part() -> None:
    with pytest.raises(MediaError, match=f"ends after {FRAMES} of 100000 frames"):
        frames_of(patched(without_samples(encoded("FLAC")), 22, struct.pack(">I", 100000)))


@pytest.mark.parametrize("known", [True, False])
def test_a_flac_that_is_cut_or_damaged_is_refused(known: bool) -> None:
    whole = encoded("FLAC") if known else without_samples(encoded("FLAC"))
    middle = len(whole) // 2
    for data in (whole[:middle], patched(whole, middle, b"\x55" * 50), whole + b"junk" * 99, whole + whole):
        with pytest.raises(MediaError):
            frames_of(data)


def test_tags_around_flac_and_mp3_are_no_sound() -> None:
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)
    for kind in ("FLAC", "MP3"):
        whole = encoded(kind)
        assert frames_of(ID3V2 + ID3V2 + whole + ID3V1) == frames_of(whole)
        assert frames_of(whole + ape + ID3V1) == frames_of(whole)

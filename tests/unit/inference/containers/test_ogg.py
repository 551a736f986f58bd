"""containers/ogg.py: chains of streams, and pages that are missing or damaged."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest
from support.encoded_sounds import FRAMES, encoded, frames_of, patched, sound

from avizor_inference.errors import MediaError


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_every_stream_of_an_ogg_chain_is_heard(subtype: str) -> None:
    chain = encoded("OGG", subtype) + encoded("OGG", subtype, sound(20000, seed=1)) + encoded("OGG", subtype, sound(9000, 2))
    assert frames_of(chain) == FRAMES + 29000
    with pytest.raises(MediaError, match="streams have different sample rates or channels"):
        frames_of(encoded("OGG", subtype) + encoded("OGG", subtype, rate=24000))


def test_an_empty_stream_at_the_beginning_of_a_chain_does_not_hide_the_others() -> None:
    assert frames_of(encoded("OGG", "VORBIS", sound(0)) + encoded("OGG", "VORBIS")) == FRAMES


def checksum(page: bytes) -> bytes:
    """Of an Ogg page, bit by bit as RFC 3533 has it."""
    crc = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return struct.pack("<I", crc)


def pages_of(data: bytes) -> list[bytes]:
    starts = [match.start() for match in re.finditer(b"OggS", data)]
    return [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def with_field(page: bytes, at: int, field: bytes) -> bytes:
    """An Ogg page with another field, and the checksum that fits it."""
    page = patched(page, at, field)
    return patched(page, 22, checksum(page))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_file_that_is_a_part_is_refused(subtype: str) -> None:
    whole = encoded("OGG", subtype, np.concatenate([sound(seed=seed) for seed in range(8)]))
    pages = pages_of(whole)
    assert len(pages) > 8
    assert with_field(pages[4], 0, b"OggS") == pages[4]
    first, last = b"".join(pages[:5]), b"".join(pages[6:])
    for data, reason in (
        (whole[: len(whole) // 2], "ends within a page: it was cut off"),
        (b"".join(pages[:-1]), "no last page: the file was cut off, or never finished"),
        (first + last, "pages of the OGG stream are missing"),
        (b"".join(pages[2:]), "has no beginning"),
        (first + whole, "has no last page: it was cut off, or never finished"),
        (whole + b"junk" * 30, "no page begins there"),
        (first + patched(pages[5], 100, b"\x55" * 50) + last, "the checksum of a page is wrong"),
        (b"".join(pages[:-1]) + patched(pages[-1], 100, b"\x55" * 10), "the checksum of a page is wrong"),
        (b"".join(pages[:-1]) + with_field(pages[-1], 6, struct.pack("<q", 5)), "runs backwards"),
        (b"".join(pages[:-1]) + with_field(pages[-1], 6, struct.pack("<q", 2**60)), r"ends after \d+ of \d+ frames"),
        (first + with_field(pages[5], 14, b"abcd") + last, "several streams at once"),
    ):
        with pytest.raises(MediaError, match=reason):
            frames_of(data)

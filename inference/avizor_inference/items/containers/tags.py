"""Skip tags with text and pictures before, between and after the frames of MP3 and FLAC: ID3, APE, Lyrics3."""

from __future__ import annotations

from typing import BinaryIO

from avizor_inference.items.containers.stream import read_at

_ID3V1 = 128  # bytes


def after_id3v2(file: BinaryIO, position: int) -> int:
    """Return the position after the ID3v2 tags that begin at `position`; `position` itself if there are none."""
    while (head := read_at(file, position, 10))[:3] == b"ID3" and len(head) == 10:
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        position += 10 + size + (10 if head[5] & 0x10 else 0)  # with a footer
    return position


def after_tag(file: BinaryIO, position: int) -> int:
    """Return the position after the tag that begins at `position`; `position` itself if there is none."""
    head = read_at(file, position, 16)
    if head.startswith(b"TAG"):
        return position + _ID3V1
    if head.startswith(b"APETAGEX") and len(head) == 16:
        return position + 32 + int.from_bytes(head[12:], "little")
    return after_id3v2(file, position)


def before_tags(file: BinaryIO, start: int, end: int) -> int:
    """Return the position of the first of the tags that end at `end`, where the file ends; `end` itself if there are none.

    Tags are searched for only from `start` on.
    """
    while (size := _size_before(file, start, end)) and end - size >= start:
        end -= size
    return end


def _size_before(file: BinaryIO, start: int, end: int) -> int:
    """Return the size in bytes of the tag that ends at `end`; 0 if there is none."""
    last = read_at(file, max(start, end - _ID3V1), end - max(start, end - _ID3V1))
    if len(last) == _ID3V1 and last.startswith(b"TAG"):
        return _ID3V1
    foot = last[-32:]
    if len(foot) == 32 and foot.startswith(b"APETAGEX"):
        return int.from_bytes(foot[12:16], "little") + (
            32 if foot[23] & 0x80 else 0
        )  # the size includes the foot but not the head
    if foot.endswith(b"LYRICS200") and foot[17:23].isdigit():
        return int(foot[17:23]) + 15
    return 0

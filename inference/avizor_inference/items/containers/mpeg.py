"""MPEG audio (MP3): ISO 11172-3 and 13818-3 for the frames; the tag of Xing and Fraunhofer's VBRI for their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from avizor_inference.errors import MediaError
from avizor_inference.items.containers.stream import Stream, read_at
from avizor_inference.items.containers.tags import after_tag, before_tags

# kbit/s by version (MPEG-1, or 2 and 2.5) and layer, for the values 1 to 14 of a frame's field.
_BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# Hz by the two bits of the version: 2.5, (none), 2, 1.
_RATES = {0: (11025, 12000, 8000), 2: (22050, 24000, 16000), 3: (44100, 48000, 32000)}
_MONO = 3

# No frame is longer, so that a file which begins within a frame has its next one here.
_LONGEST_FRAME = 2881
# So many frames in a row are no chance.
_SURE = 3
# What encoders and decoders add at most before and after the sound, which a tag has taken off: samples.
_DELAYS = 2 * 4095 + 529


@dataclass(frozen=True)
class _Frame:
    head: bytes
    layer: int
    lsf: bool  # low sampling frequencies: MPEG-2 or 2.5
    rate: int  # Hz
    size: int  # bytes

    @property
    def samples(self) -> int:
        if self.layer == 1:
            return 384
        return 576 if self.layer == 3 and self.lsf else 1152

    @property
    def kind(self) -> tuple[int, bool, int]:
        return self.layer, self.lsf, self.rate

    @property
    def side_bytes(self) -> int:
        """Of layer III, between the head and what follows."""
        if self.head[3] >> 6 == _MONO:
            return 9 if self.lsf else 17
        return 17 if self.lsf else 32


def mpeg_stream(file: BinaryIO, start: int, size: int) -> Stream | None:
    """All frames of an MP3 file; None where there are none. Raises MediaError for a file that is cut off or damaged.

    Where no tag tells the number of frames, or too small a one, the decoder would guess or stop early: it gets a tag of ours.
    """
    end = before_tags(file, start, size)
    first = _first_frame(file, start, end)
    if first is None:
        return None
    position, frame = first
    tag = _tag(file, position, frame)
    counted, stop = _walk(file, position, end, frame)
    least = max(0, counted * frame.samples - _DELAYS)
    if tag is None:
        return Stream(position, stop, _info(frame, counted), least)
    if tag > counted:  # some count the tag's own frame
        raise MediaError(f"the file was cut off: its tag says {tag} MP3 frames, and {counted - 1} are there")
    if tag == counted - 1:
        return Stream(position, stop, least_frames=least)
    return Stream(position + frame.size, stop, _info(frame, counted - 1), least)


def _first_frame(file: BinaryIO, start: int, end: int) -> tuple[int, _Frame] | None:
    """The first frame that others follow; before it may lie zeros, or the rest of a frame that began in another file."""
    while (data := read_at(file, start, 2**16)) and not data.strip(b"\0"):
        start += len(data)
    start += len(data) - len(data.lstrip(b"\0"))
    for skipped in range(min(_LONGEST_FRAME, end - start)):
        frame = _frame(file, start + skipped)
        if frame and _follow(file, start + skipped, end, frame):
            return start + skipped, frame
    return None


def _follow(file: BinaryIO, position: int, end: int, first: _Frame) -> bool:
    for _ in range(_SURE):
        frame = _frame(file, position)
        if frame is None or frame.kind != first.kind:
            return False
        position += frame.size
        if position >= end:
            return True
    return True


def _walk(file: BinaryIO, position: int, end: int, first: _Frame) -> tuple[int, int]:
    """Number of frames, and where the last ends."""
    counted, stop = 0, position
    while position < end:
        frame = _frame(file, position)
        if frame is not None and frame.kind == first.kind:
            position += frame.size
            if position > end:
                raise MediaError(f"the file ends within an MP3 frame after {counted} whole ones: it was cut off")
            counted, stop = counted + 1, position
        elif (after := after_tag(file, position)) > position:
            if after > end:
                raise MediaError(f"the tag at byte {position} claims {after - position} bytes, and {end - position} are there")
            position = after
        elif not read_at(file, position, end - position if end - position < 2**16 else 2**16).strip(b"\0"):
            position += 2**16
        else:
            raise MediaError(f"the file is damaged at byte {position}: no MP3 frame like the ones before begins there")
    return counted, stop


def _frame(file: BinaryIO, position: int) -> _Frame | None:
    head = read_at(file, position, 4)
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    lsf = version != 3
    kbits, hz = _BITRATES[2 if lsf else 1, layer][bitrate - 1], _RATES[version][rate]
    if layer == 1:
        size = (12000 * kbits // hz + padding) * 4
    else:
        size = (72000 if layer == 3 and lsf else 144000) * kbits // hz + padding
    return _Frame(head, layer, lsf, hz, size)


def _tag(file: BinaryIO, position: int, frame: _Frame) -> int | None:
    """The number of frames that a tag in place of the first frame gives, -1 where it gives none; None without a tag."""
    data = read_at(file, position, frame.size)
    crc = 0 if frame.head[1] & 1 else 2
    at = 4 + crc + frame.side_bytes
    if data[at : at + 4] in (b"Xing", b"Info"):
        has_frames = int.from_bytes(data[at + 4 : at + 8], "big") & 1
        return int.from_bytes(data[at + 8 : at + 12], "big") if has_frames else -1
    if data[36:40] == b"VBRI":
        return -1  # not every decoder knows it
    return None


def _info(like: _Frame, frames: int) -> bytes:
    """A frame that holds nothing but the number of those behind it. Only layer III has such."""
    if like.layer != 3:
        return b""
    # Without a checksum, of the highest bitrate: long enough for the tag.
    head = bytes([like.head[0], like.head[1] | 1, 14 << 4 | like.head[2] & 0x0C, like.head[3]])
    kbits = _BITRATES[2 if like.lsf else 1, 3][13]
    body = head + bytes(like.side_bytes) + b"Info" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    return body.ljust((72000 if like.lsf else 144000) * kbits // like.rate, b"\0")

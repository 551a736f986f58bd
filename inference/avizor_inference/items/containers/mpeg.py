"""Read MPEG audio (MP3): frames by ISO 11172-3 and 13818-3, their number from the tags Xing, Info and VBRI (Fraunhofer)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from avizor_inference.errors import MediaError
from avizor_inference.items.containers.stream import Stream, read_at
from avizor_inference.items.containers.tags import after_tag, before_tags

# Bit rates in kbit/s by version (1 for MPEG-1, 2 for MPEG-2 and 2.5) and layer, for the values 1 to 14 of a frame's field.
_BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# Sample rates in Hz by the two bits of the version: 0 is MPEG-2.5, 2 is MPEG-2, 3 is MPEG-1.
_RATES = {0: (11025, 12000, 8000), 2: (22050, 24000, 16000), 3: (44100, 48000, 32000)}
_MONO = 3

# Bytes of the longest frame. In a file that begins within a frame, the next frame begins within this distance.
_LONGEST_FRAME = 2881
# Frames in a row after which it is certain that these are frames.
_SURE = 3
# Largest number of samples that encoders and decoders add before and after the sound, and that a tag lets decoders remove.
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
        """Return the bytes of side information in a frame of layer III, which follow its head."""
        if self.head[3] >> 6 == _MONO:
            return 9 if self.lsf else 17
        return 17 if self.lsf else 32


def mpeg_stream(file: BinaryIO, start: int, size: int) -> Stream | None:
    """Return the stream of all frames of an MP3 file; None if there are no frames.

    If the file has no tag with the number of frames, the decoder would guess it; if the number is too small, it would stop
    early. The stream then begins with a new tag. Raises MediaError for a file that is cut off or damaged.
    """
    end = before_tags(file, start, size)
    first = _first_frame(file, start, end)
    if first is None:
        return None
    position, frame = first
    tag = _tag(file, position, frame)
    counted, stop = _walk(file, position, end, frame)
    min_frames = max(0, counted * frame.samples - _DELAYS)
    if tag is None:
        return Stream(position, stop, _info(frame, counted), min_frames)
    if tag > counted:  # some encoders count the frame of the tag
        raise MediaError(f"the file was cut off: its tag says {tag} MP3 frames, but it has {counted - 1}")
    if tag == counted - 1:
        return Stream(position, stop, min_frames=min_frames)
    return Stream(position + frame.size, stop, _info(frame, counted - 1), min_frames)


def _first_frame(file: BinaryIO, start: int, end: int) -> tuple[int, _Frame] | None:
    """Return the first frame that others follow, and its position; None if there is none.

    Zeros may precede it, or the rest of a frame that began in another file.
    """
    while (data := read_at(file, start, 2**16)) and not data.strip(b"\0"):
        start += len(data)
    start += len(data) - len(data.lstrip(b"\0"))
    for skipped in range(min(_LONGEST_FRAME, end - start)):
        frame = _frame(file, start + skipped)
        if frame and _follow(file, start + skipped, end, frame):
            return start + skipped, frame
    return None


def _follow(file: BinaryIO, position: int, end: int, first: _Frame) -> bool:
    """Return whether frames of the same kind as `first` follow each other from `position` on."""
    for _ in range(_SURE):
        frame = _frame(file, position)
        if frame is None or frame.kind != first.kind:
            return False
        position += frame.size
        if position >= end:
            return True
    return True


def _walk(file: BinaryIO, position: int, end: int, first: _Frame) -> tuple[int, int]:
    """Return the number of frames, and the position where the last one ends. Raises MediaError for other data between them."""
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
                raise MediaError(
                    f"the tag at byte {position} claims {after - position} bytes, but only {end - position} follow"
                )
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
    """Return the number of frames in the tag that replaces the first frame; -1 if it has no number, None if there is no tag."""
    data = read_at(file, position, frame.size)
    crc = 0 if frame.head[1] & 1 else 2
    at = 4 + crc + frame.side_bytes
    if data[at : at + 4] in (b"Xing", b"Info"):
        has_frames = int.from_bytes(data[at + 4 : at + 8], "big") & 1
        return int.from_bytes(data[at + 8 : at + 12], "big") if has_frames else -1
    if data[36:40] == b"VBRI":
        return -1  # not every decoder reads it
    return None


def _info(like: _Frame, frames: int) -> bytes:
    """Return a frame that holds only the number of frames after it, as bytes; empty for layers I and II, which have no tag."""
    if like.layer != 3:
        return b""
    # A frame without a checksum, at the highest bit rate, is long enough for the tag.
    head = bytes([like.head[0], like.head[1] | 1, 14 << 4 | like.head[2] & 0x0C, like.head[3]])
    kbits = _BITRATES[2 if like.lsf else 1, 3][13]
    body = head + bytes(like.side_bytes) + b"Info" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    return body.ljust((72000 if like.lsf else 144000) * kbits // like.rate, b"\0")

"""Read the sound of MP4, Matroska, Windows Media, AVI and raw AAC with PyAV, packet by packet."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from avizor_inference.arrays import Samples
from avizor_inference.errors import MediaError
from avizor_inference.items.containers.av_containers import ADTS, AvContainer, check_whole
from avizor_inference.items.containers.stream import Stream, StreamFile
from avizor_inference.items.containers.tags import after_id3v2, before_tags
from avizor_inference.items.file_access import state_of

if TYPE_CHECKING:
    from av import AudioFrame, Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# Decoders that may be used: the whole of FFmpeg knows hundreds, also of pictures.
_DECODERS = (
    *("aac", "ac3", "alac", "amrnb", "amrwb", "eac3", "flac", "mp3", "mp3float", "opus", "vorbis"),
    *("wmalossless", "wmapro", "wmav1", "wmav2"),
    *("adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "pcm_alaw", "pcm_mulaw", "pcm_u8", "pcm_s8"),
    *(f"pcm_{kind}{end}" for kind in ("s16", "s24", "s32", "f32", "f64") for end in ("le", "be")),
)
# No other file and no address is opened, whatever the file says.
_OPTIONS = {"codec_whitelist": ",".join(_DECODERS), "protocol_whitelist": "", "enable_drefs": "0"}

# Bytes that are read from the file at a time.
_READ_BYTES = 65536

# Bytes of one packet; one of uncompressed sound has a few seconds at most.
_MOST_PACKET = 16 * 2**20

# Frames that a block has at least, unless it is the last: a codec makes about 1,000 at a time.
_BLOCK_FRAMES = 16384

# Frames by which the last packets may exceed the length that a file tells: encoders fill them up.
_PADDING = 8192

# Seconds by which the time of a packet may differ from the end of the one before. Containers round times to milliseconds.
_GAP_S = 0.1

# Seconds by which sound may end before the length that a Matroska file tells, which is rounded, and counts an encoder's delay.
_ENDS_EARLY_S = 0.5

# The element type -> value of full scale, of samples that are integers.
_FULL_SCALE = {"u1": 2**7, "i2": 2**15, "i4": 2**31}


def load_av() -> None:
    """Load PyAV, if it is installed: for a process that is to have it in memory before its first file."""
    with suppress(ModuleNotFoundError):
        import av  # noqa: F401


class AvSound:
    """Reads the sound of a file in blocks of float32[frames, channels]; full scale is 1.

    Of several tracks of sound it is the one that the file marks as the default, or else the first. Video is not decoded. The
    file has to be whole; samples that the file marks as an encoder's delay or padding are left out. Raises MediaError.
    file: open, and not closed here.
    """

    def __init__(self, file: BinaryIO, container: AvContainer) -> None:
        self._source, self._before = file, state_of(file)
        with ExitStack() as opened:
            self._file = StreamFile(file, Stream(0, file.seek(0, os.SEEK_END)))
            with self._decoding(0):
                check_whole(file, container)
                self._container = opened.enter_context(_opened(self._file, container))
            self._stream = _chosen(self._container)
            self._aac = _AacFrames(file) if container is ADTS else None
            self._frames = self._decoded()
            self._first = next(self._frames, None)
            if self._first is None:
                raise MediaError("the sound of the file holds no samples")
            self.sample_rate: int = self._first.sample_rate
            self.channels: int = self._first.layout.nb_channels
            self._closing = opened.pop_all()

    @property
    def frames(self) -> None:
        """Return None: what the headers tell is not exact."""
        return None

    @property
    def is_seekable(self) -> bool:
        """Return False: a packet may need those before it."""
        return False

    def blocks(self, first: int = 0) -> Iterator[Samples]:
        """Yield the whole sound, one block at a time. Raises MediaError if it is damaged, or changed while it is read.

        first: always 0, since it is not seekable.
        """
        read, kept = 0, list[Samples]()
        for samples in self._trimmed():
            kept.append(samples)
            if sum(map(len, kept)) >= _BLOCK_FRAMES:
                yield (block := _joined(kept, read))
                read += len(block)
                kept = []
        if kept:
            yield (block := _joined(kept, read))
            read += len(block)
        if not read:
            raise MediaError("the sound of the file holds no samples")
        self._check_end(read)
        if state_of(self._source) != self._before:
            raise MediaError("the file was changed while it was read; run again when it is finished", offset=read)

    def _trimmed(self) -> Iterator[Samples]:
        """Yield the samples of each frame, without those with which an encoder filled up the last packets."""
        left = self._told_frames()
        padding = list[Samples]()
        for samples in self._samples():
            if left is None or (not padding and len(samples) <= left):
                left = left if left is None else left - len(samples)
                yield samples
                continue
            padding.append(samples)
            if sum(map(len, padding)) - left > _PADDING:  # the length is not that of the sound
                yield from padding
                left, padding = None, []
        if left is not None and left > _PADDING:
            raise MediaError(
                f"the sound ends {left / self.sample_rate:.1f} s before the length that the file tells",
                offset=(self._told_frames() or left) - left,
            )
        for samples in padding:
            yield samples[:left]
            left = max(0, (left or 0) - len(samples))

    def _check_end(self, read: int) -> None:
        """Raise MediaError if a Matroska file tells that its sound is longer: FFmpeg skips what is damaged without a word."""
        duration = self._container.duration
        if duration is None or len(self._container.streams) > 1 or not self._container.format.name.startswith("matroska"):
            return
        missing = duration / 1e6 - read / self.sample_rate
        if missing > _ENDS_EARLY_S:
            raise MediaError(f"the sound ends {missing:.1f} s before the length that the file tells", offset=read)

    def _told_frames(self) -> int | None:
        """Return the number of frames that the index of an MP4 file tells; None without one, as in a file of fragments."""
        if not (self._stream.frames and self._stream.duration and self._container.format.name.startswith("mov")):
            return None
        return round(float(self._stream.duration * cast(Any, self._stream.time_base)) * self.sample_rate)

    def _samples(self) -> Iterator[Samples]:
        """Yield the samples of each frame. Raises MediaError where the sample rate or the channels change, or time jumps."""
        frame, self._first = self._first, None
        read, end = 0, None
        while frame is not None:
            if (frame.sample_rate, frame.layout.nb_channels) != (self.sample_rate, self.channels):
                raise MediaError(
                    f"after {read / self.sample_rate:.1f} s the sound goes on at {frame.sample_rate} Hz with "
                    f"{frame.layout.nb_channels} channels, not at {self.sample_rate} Hz with {self.channels}; split the file",
                    offset=read,
                )
            begin = frame.time
            if begin is not None and end is not None and abs(begin - end) > _GAP_S:
                raise MediaError(
                    f"the times of the file jump by {begin - end:.1f} s after {read / self.sample_rate:.1f} s of sound; "
                    "`ffmpeg -i FILE -af aresample=async=1 NEW.wav` fills gaps with silence",
                    offset=read,
                )
            end = begin + frame.samples / frame.sample_rate if begin is not None else None
            yield _floats(frame)
            read += frame.samples
            frame = next(self._frames, None)

    def _decoded(self) -> Generator[AudioFrame, None, None]:
        """Yield what the decoder makes of each packet."""
        read = 0
        packets = self._container.demux(self._stream)
        while True:
            with self._decoding(read):
                packet = next(packets, None)
                if packet is None:
                    break
                self._check(packet, read)
                frames = packet.decode()
            for frame in frames:
                read += frame.samples
                yield frame
        if self._aac is not None:
            self._aac.check_end(read)

    def _check(self, packet: Packet[AudioStream], read: int) -> None:
        if packet.is_corrupt or packet.size > _MOST_PACKET:
            raise MediaError(f"the file is damaged after {read} frames of sound", offset=read)
        if self._aac is not None and packet.size:
            self._aac.check(packet, read)

    @contextmanager
    def _decoding(self, read: int) -> Iterator[None]:
        """Turn what FFmpeg finds wrong into a MediaError. read: frames so far."""
        from av.error import FFmpegError

        try:
            yield
        except (FFmpegError, ValueError, OSError, EOFError) as error:
            reason: object = getattr(error, "strerror", "") or error
            if self._file.error:
                reason = self._file.error.strerror
            elif getattr(error, "errno", 0) == errno.EPERM:  # the name of -1, by which decoders tell that they failed
                reason = "it is damaged: its decoder gives no other reason"
            begun = f"decoding failed after {read} frames" if read else "not an audio file that can be read"
            raise MediaError(f"{begun} ({str(reason)[:200]})", offset=read) from error
        if self._file.error:
            raise MediaError(f"reading failed after {read} frames ({self._file.error.strerror})", offset=read)

    def __enter__(self) -> AvSound:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._frames.close()
        self._closing.close()


class _AacFrames:
    """Checks that the frames of a file of raw AAC are whole and follow each other, up to its end or the tags there."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._next = after_id3v2(file, 0)
        self._end = before_tags(file, self._next, file.seek(0, os.SEEK_END))

    def check(self, packet: Packet[AudioStream], read: int) -> None:
        """Raise MediaError unless a packet is the next frame. Tags may be between two. read: frames of sound so far."""
        if packet.pos != self._next and packet.pos != after_id3v2(self._file, self._next):
            raise MediaError(f"the bytes from {self._next} on belong to no AAC frame", offset=read)
        head = bytes(packet)[3:6]
        if len(head) < 3 or packet.size != (head[0] & 3) << 11 | head[1] << 3 | head[2] >> 5:
            raise MediaError(f"the file ends within an AAC frame, after {read} frames of sound", offset=read)
        self._next = packet.pos + packet.size

    def check_end(self, read: int) -> None:
        """Raise MediaError if something is behind the last frame."""
        if self._next < self._end:
            raise MediaError(f"the bytes from {self._next} on belong to no AAC frame", offset=read)


def _opened(file: StreamFile, container: AvContainer) -> InputContainer:
    import av  # half a second; not needed for other files
    import av.logging

    opened: InputContainer = av.open(
        cast(Any, file), format=container.demuxer, options=_OPTIONS, metadata_errors="ignore", buffer_size=_READ_BYTES
    )
    return opened


def _chosen(container: InputContainer) -> AudioStream:
    """Return the track of sound that is read, ready to be decoded; packets of the others are left out."""
    from av.stream import Discard, Disposition

    tracks = container.streams.audio
    if not tracks:
        raise MediaError("the file has no sound: none of its tracks is audio")
    chosen = next((track for track in tracks if track.disposition & Disposition.default), tracks[0])
    if chosen.codec_context is None or chosen.codec_context.name not in _DECODERS:
        raise MediaError("the sound of the file is in a codec that is not read; convert it to WAV or FLAC")
    for track in container.streams:
        if track is not chosen:
            track.discard = Discard.all
    chosen.codec_context.thread_count = 1  # there is a process for each core
    return chosen


def _floats(frame: AudioFrame) -> Samples:
    """Return float32[frames, channels] of what a decoder made."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    full_scale = _FULL_SCALE.get(values.dtype.str[1:])
    if full_scale is None:
        return values.astype(np.float32)
    if full_scale == _FULL_SCALE["u1"]:
        values = values.astype(np.int16) - full_scale
    return (values / full_scale).astype(np.float32)


def _joined(kept: list[Samples], read: int) -> Samples:
    block = np.concatenate(kept)
    if not np.isfinite(block).all():
        raise MediaError(f"a sample after frame {read} is not a finite number", offset=read)
    return block

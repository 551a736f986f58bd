"""Read a file of sound in blocks. The memory needed does not grow with the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

import numpy as np
import soundfile

from avizor_inference.arrays import Samples
from avizor_inference.errors import MediaError
from avizor_inference.items.av_sound import AvSound
from avizor_inference.items.containers.av_containers import av_container, has_av
from avizor_inference.items.containers.detect import sound_streams
from avizor_inference.items.containers.plain_wav import PlainWav, plain_wav
from avizor_inference.items.containers.stream import Stream, StreamFile
from avizor_inference.items.file_access import open_file, state_of
from avizor_inference.items.windows import MAX_CHANNELS

# Frames that are read at a time, or fewer if there are many channels: a block has at most half a megabyte.
BLOCK_FRAMES = 65536
BLOCK_SAMPLES = 131072

# Limits for the values in a header. A damaged file may claim 1 Hz, at which a second of sound would become an hour.
MIN_SAMPLE_RATE = 1000  # Hz

# Encodings in which the samples after a seek are those of a straight reading, as each sample has its place. In FLAC files it is
# found by the numbers of the frames.
_SEEKABLE = frozenset({"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"})
_SEEKABLE_IN = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "FLAC"})

# libsndfile's number of frames if the container does not hold it.
_UNKNOWN_FRAMES = 2**62


class Sound(Protocol):
    """Describes what windows are cut from: samples in blocks of float32[frames, channels]."""

    @property
    def sample_rate(self) -> int:
        """Return the sample rate in Hz."""

    @property
    def channels(self) -> int:
        """Return the number of channels."""

    def blocks(self, first: int = 0) -> Iterator[Samples]:
        """Yield the sound from frame `first` on, one block at a time. Raises MediaError."""


class _ToTheEnd(soundfile.SoundFile):  # type: ignore[misc]
    """Reads to the end of the data; soundfile would stop at the header's number of frames, and seek after each block."""

    def seekable(self) -> bool:
        return False


def frames_of_block(channels: int) -> int:
    """Return the frames that are read at a time from a sound of so many channels."""
    return min(BLOCK_FRAMES, BLOCK_SAMPLES // channels)


# A decoder, and the file it reads from.
_Decoder = tuple[soundfile.SoundFile, StreamFile]


class AudioFile:
    """Reads an audio file in blocks of float32[frames, channels]; full scale is 1.

    Every sample in the file is read. A file that was cut off, or whose header does not agree with the data after it, raises
    MediaError; it is not read as a shorter recording. least_rate: the lowest sample rate that is read, in Hz.
    """

    def __init__(self, source: Path | BinaryIO, least_rate: int = MIN_SAMPLE_RATE) -> None:
        self._source = open_file(source) if isinstance(source, Path) else source
        self._to_close: list[BinaryIO | soundfile.SoundFile] = [self._source] if isinstance(source, Path) else []
        try:
            self._open()
            _check_header(self, least_rate)
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._before = state_of(self._source)
        try:
            size = self._before[0] if self._before else self._source.seek(0, os.SEEK_END)
            self._plain = plain_wav(self._source, size)
            self._streams = [] if self._plain else sound_streams(self._source)
        except OSError as error:
            raise MediaError(f"reading failed ({error.strerror})") from error
        self._first: _Decoder | None = None
        if self._plain:
            self._rate, self._channels = self._plain.sample_rate, self._plain.channels
        else:
            self._first = self._decoder(self._streams[0])
            first = self._first[0]
            self._to_close.append(first)
            self._rate, self._channels = int(first.samplerate), int(first.channels)

    @property
    def sample_rate(self) -> int:
        """Return the sample rate in Hz."""
        return self._rate

    @property
    def channels(self) -> int:
        """Return the number of channels."""
        return self._channels

    @property
    def frames(self) -> int | None:
        """Return the number of frames that the header tells; None if it tells none, or only that of one stream of several."""
        if self._plain:
            return self._plain.frames
        if self._first is None or len(self._streams) > 1:
            return None
        told = int(self._first[0].frames)
        return (told if told < _UNKNOWN_FRAMES else self._streams[0].min_frames) or None

    @property
    def is_seekable(self) -> bool:
        """Return whether the samples from any frame on can be read, and are those of a straight reading."""
        if self._plain:
            return True
        decoder = self._first[0] if self._first and self.frames else None
        return decoder is not None and decoder.format in _SEEKABLE_IN and decoder.subtype in _SEEKABLE

    def blocks(self, first: int = 0) -> Iterator[Samples]:
        """Yield the whole file, one block at a time. Raises MediaError if it is damaged, empty, or changed while it is read.

        first: the frame from which to read, of a file that is seekable.
        """
        read = first
        if self._plain:
            for block in self._plain_blocks(self._plain, first):
                read += len(block)
                yield block
        for stream in self._streams:
            decoder, self._first = self._first or self._decoder(stream), None
            if first:
                _seek(decoder, first)
            for block in self._blocks_of(stream, decoder, read - first, first):
                read += len(block)
                yield block
        if read == 0:
            raise MediaError("the audio file holds no samples")
        if state_of(self._source) != self._before:
            raise MediaError("the file was changed while it was read; run again when it is finished", offset=read)

    def _plain_blocks(self, plain: PlainWav, first: int) -> Iterator[Samples]:
        read = first
        try:
            for block in plain.blocks(self._source, frames_of_block(self._channels), first):
                read += len(block)
                yield block
        except OSError as error:
            raise MediaError(f"reading failed after {read} frames ({_reason(error)})", offset=read) from error
        if read < plain.frames:
            raise MediaError(f"the file ends after {read} of {plain.frames} frames", offset=read)

    def _blocks_of(self, stream: Stream, opened: _Decoder, before: int, first: int = 0) -> Iterator[Samples]:
        decoder, file = opened
        frames = frames_of_block(self._channels)
        read = first
        with decoder:
            if (decoder.samplerate, decoder.channels) != (self._rate, self._channels):
                raise MediaError("the file's streams have different sample rates or channels; split it", offset=before)
            while len(block := _block(decoder, file, frames, before + read)):
                read += len(block)
                yield block
            expected = max(stream.min_frames, decoder.frames if decoder.frames < _UNKNOWN_FRAMES else 0)
        if read < expected:
            raise MediaError(f"the file ends after {before + read} of {before + expected} frames", offset=before + read)

    def _decoder(self, stream: Stream) -> _Decoder:
        file = StreamFile(self._source, stream)
        try:
            return _ToTheEnd(file), file
        except (soundfile.LibsndfileError, OSError, TypeError, RuntimeError) as error:
            raise MediaError(f"not an audio file that can be read ({_reason(file.error or error)})") from error

    def close(self) -> None:
        """Close what was opened here."""
        for opened in reversed(self._to_close):
            opened.close()

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _seek(opened: _Decoder, frame: int) -> None:
    """Go to a frame. Raises MediaError if the file does not have it, or is damaged."""
    decoder, file = opened
    try:
        reached = decoder.seek(frame)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise MediaError(f"frame {frame} cannot be found ({_reason(file.error or error)})", offset=frame) from error
    if reached != frame or file.error is not None:
        raise MediaError(f"frame {frame} cannot be found ({_reason(file.error or OSError('the file ends'))})", offset=frame)


def opened_sound(file: BinaryIO) -> AudioFile | AvSound:
    """Open the sound of a file, to be closed by `with`; the file stays open.

    What libsndfile does not know is read with PyAV, if that is installed. Raises MediaError.
    """
    try:
        return AudioFile(file)
    except MediaError:
        container = av_container(file) if has_av() else None
        if container is None:
            raise
        with ExitStack() as opened:
            sound = opened.enter_context(AvSound(file, container))
            _check_header(sound)
            opened.pop_all()
        return sound


def _check_header(sound: Sound, least_rate: int = MIN_SAMPLE_RATE) -> None:
    if sound.channels > MAX_CHANNELS:
        raise MediaError(f"the audio file has {sound.channels} channels; at most {MAX_CHANNELS} are read")
    if sound.sample_rate < least_rate:
        raise MediaError(f"the header says {sound.sample_rate} Hz; sound is read from {least_rate} Hz on")


def _block(decoder: soundfile.SoundFile, file: StreamFile, frames: int, offset: int) -> Samples:
    """Return the next block, which is empty at the end. offset: number of frames that were read before."""
    try:
        block: Samples = decoder.read(frames, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        step = "decoding" if file.error is None else "reading"
        raise MediaError(f"{step} failed after {offset} frames ({_reason(file.error or error)})", offset=offset) from error
    if file.error is not None:
        raise MediaError(f"reading failed after {offset} frames ({_reason(file.error)})", offset=offset) from file.error
    if not np.isfinite(block).all():
        raise MediaError(f"a sample after frame {offset} is not a finite number", offset=offset)
    return block


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or getattr(error, "strerror", "") or error)
    return text.strip().rstrip(".:").replace("\n", " ") or "the decoder gives no reason"

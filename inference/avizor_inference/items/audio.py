"""From an audio file to windows of samples, in blocks: decode, resample, cut. Memory does not grow with the file.

This is all that stays outside the graph; what the model does to a window (log-mel and the rest) is inside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from avizor_inference.arrays import Samples
from avizor_inference.errors import MediaError
from avizor_inference.items.containers.detect import sound_streams
from avizor_inference.items.containers.stream import Stream, StreamFile
from avizor_inference.items.files import open_file
from avizor_inference.items.windows import Window, Windower, WindowFormat

__all__ = ["MAX_CHANNELS", "MAX_RATIO", "MIN_SAMPLE_RATE", "AudioFile", "Level", "Resampler", "windows_of"]

# Read so many frames at a time, or fewer where there are many channels: at most half a megabyte.
BLOCK_FRAMES = 65536
BLOCK_SAMPLES = 131072

# What a header may say. A file of a few bytes claims 1,024 channels, each of which would become a window, as easily as 1 Hz,
# at which a second of sound would become an hour.
MAX_CHANNELS = 64
MIN_SAMPLE_RATE = 1000  # Hz
MAX_RATIO = 64  # of the file's sample rate and the model's, in either direction

# libsndfile's count where the container does not tell.
_UNKNOWN_FRAMES = 2**62


@dataclass
class Level:
    """How loud the samples of a file are, before any is clipped. Full scale is 1."""

    samples: int = 0  # of all channels
    beyond: int = 0  # samples whose magnitude is over full scale
    peak: float = 0.0  # largest magnitude

    def add(self, block: Samples) -> None:
        """Take in one block of finite float32[frames, channels]."""
        magnitude = np.abs(block)
        self.samples += magnitude.size
        self.beyond += int(np.count_nonzero(magnitude > 1.0))
        self.peak = max(self.peak, float(magnitude.max(initial=0.0)))

    @property
    def share_beyond(self) -> float:
        """Share of the samples that are beyond full scale, 0 to 1."""
        return self.beyond / self.samples if self.samples else 0.0


class _ToTheEnd(soundfile.SoundFile):  # type: ignore[misc]
    """Reads until nothing comes, where soundfile would stop at the header's number of frames and seek after each block."""

    def seekable(self) -> bool:
        return False


# A decoder, and what it reads from.
_Decoder = tuple[soundfile.SoundFile, StreamFile]


class AudioFile:
    """An audio file read in blocks of float32[frames, channels]; full scale is 1. Raises MediaError.

    Every sample that the file holds is read. A file that was cut off, or whose header does not account for what follows it, is
    an error and not a short recording.
    """

    def __init__(self, source: Path | BinaryIO) -> None:
        self._closing = ExitStack()
        with ExitStack() as opened:
            self._source = opened.enter_context(open_file(source)) if isinstance(source, Path) else source
            self._before = _state(self._source)
            try:
                self._streams = sound_streams(self._source)
            except OSError as error:
                raise MediaError(f"reading failed ({error.strerror})") from error
            self._first: _Decoder | None = self._decoder(self._streams[0])
            first = opened.enter_context(self._first[0])
            self._rate, self._channels = int(first.samplerate), int(first.channels)
            if self._channels > MAX_CHANNELS:
                raise MediaError(f"the audio file has {self._channels} channels; at most {MAX_CHANNELS} are read")
            if self._rate < MIN_SAMPLE_RATE:
                raise MediaError(f"the header says {self._rate} Hz; sound is read from {MIN_SAMPLE_RATE} Hz on")
            self._closing = opened.pop_all()

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self._rate

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self._channels

    def blocks(self) -> Iterator[Samples]:
        """The whole file, a block at a time."""
        read = 0
        for stream in self._streams:
            decoder, self._first = self._first or self._decoder(stream), None
            for block in self._blocks_of(stream, decoder, read):
                read += len(block)
                yield block
        if read == 0:
            raise MediaError("the audio file holds no samples")
        if _state(self._source) != self._before:
            raise MediaError("the file was changed while it was read; run again when it is finished", offset=read)

    def _blocks_of(self, stream: Stream, opened: _Decoder, before: int) -> Iterator[Samples]:
        decoder, file = opened
        frames = min(BLOCK_FRAMES, BLOCK_SAMPLES // self._channels)
        read = 0
        with decoder:
            if (decoder.samplerate, decoder.channels) != (self._rate, self._channels):
                raise MediaError("the file's streams have different sample rates or channels; split it", offset=before)
            while len(block := _block(decoder, file, frames, before + read)):
                read += len(block)
                yield block
            wanted = max(stream.least_frames, decoder.frames if decoder.frames < _UNKNOWN_FRAMES else 0)
        if read < wanted:
            raise MediaError(f"the file ends after {before + read} of {before + wanted} frames", offset=before + read)

    def _decoder(self, stream: Stream) -> _Decoder:
        file = StreamFile(self._source, stream)
        try:
            return _ToTheEnd(file), file
        except (soundfile.LibsndfileError, OSError, TypeError, RuntimeError) as error:
            raise MediaError(f"not an audio file that can be read ({_reason(file.error or error)})") from error

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.close()


def _block(decoder: soundfile.SoundFile, file: StreamFile, frames: int, offset: int) -> Samples:
    """The next block, empty at the end. offset: frames that were read before."""
    try:
        block: Samples = decoder.read(frames, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        what = "decoding" if file.error is None else "reading"
        raise MediaError(f"{what} failed after {offset} frames ({_reason(file.error or error)})", offset=offset) from error
    if file.error is not None:
        raise MediaError(f"reading failed after {offset} frames ({_reason(file.error)})", offset=offset) from file.error
    if not np.isfinite(block).all():
        raise MediaError(f"a sample after frame {offset} is not a finite number", offset=offset)
    return block


def _state(file: BinaryIO) -> tuple[int, int] | None:
    """Size and time of change of a file on a disk; None for bytes in memory."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or getattr(error, "strerror", "") or error)
    return text.strip().rstrip(".:").replace("\n", " ") or "the decoder gives no reason"


class Resampler:
    """Streaming sample-rate conversion (soxr, high quality) of float32[frames, channels]; a pass-through at equal rates."""

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        if max(source_rate, target_rate) > MAX_RATIO * min(source_rate, target_rate):
            raise MediaError(
                f"the file's {source_rate} Hz cannot be brought to the model's {target_rate} Hz: the rates differ by more "
                f"than a factor of {MAX_RATIO}"
            )
        self._stream = None
        if source_rate != target_rate:
            self._stream = soxr.ResampleStream(source_rate, target_rate, channels, dtype="float32", quality="HQ")

    def push(self, block: Samples, last: bool = False) -> Samples:
        """Convert one block; with `last`, also what the filter still holds."""
        converted = block if self._stream is None else self._stream.resample_chunk(block, last=last)
        # The model takes [-1, 1]. What of the file is beyond is counted in its Level; a filter's overshoot is not the file's.
        return np.clip(converted, -1.0, 1.0)


def windows_of(
    source: Path | BinaryIO, formats: Sequence[WindowFormat], level: Level | None = None
) -> Iterator[tuple[WindowFormat, Window]]:
    """Every window of an audio file in each of the formats, from decoding it once. Raises MediaError.

    Within one format windows come in order of position, and channel by channel within each position. Samples beyond full scale
    are clipped to [-1, 1]; `level` takes note of them.
    """
    with AudioFile(source) as audio:
        level = level or Level()
        rates = {format.sample_rate for format in formats}
        resamplers = {rate: Resampler(audio.sample_rate, rate, audio.channels) for rate in rates}
        windowers = {format: Windower(format, audio.channels) for format in formats}
        silence = np.zeros((0, audio.channels), dtype=np.float32)
        for block, last in chain(((block, False) for block in audio.blocks()), [(silence, True)]):
            level.add(block)
            converted = {rate: resampler.push(block, last) for rate, resampler in resamplers.items()}
            for format, windower in windowers.items():
                for window in windower.push(converted[format.sample_rate]):
                    yield format, window
        for format, windower in windowers.items():
            if windower.is_empty:
                held = f"{level.samples // audio.channels} samples at {audio.sample_rate} Hz"
                raise MediaError(f"the recording holds {held}, less than one at the model's {format.sample_rate} Hz")
            for window in windower.finish():
                yield format, window

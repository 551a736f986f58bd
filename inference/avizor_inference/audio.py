"""From an audio file to windows of samples, in blocks: decode, resample, cut. Memory does not grow with the file.

This is all that stays outside the graph; what the model does to a window (log-mel and the rest) is inside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from avizor_inference.errors import MediaError
from avizor_inference.windows import Samples, Window, Windower, WindowFormat

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au", ".opus"})

# Read this many frames at a time: 1.4 s at 44.1 kHz, so that a block of a stereo file takes half a megabyte.
BLOCK_FRAMES = 65536


class AudioFile:
    """An audio file read in blocks of float32[frames, channels] in [-1, 1]. Raises MediaError."""

    def __init__(self, source: Path | BinaryIO) -> None:
        try:
            self._file = soundfile.SoundFile(source)
        except (soundfile.LibsndfileError, OSError, TypeError, RuntimeError) as error:
            raise MediaError(f"not an audio file that can be read ({_reason(error)})") from error
        if self._file.frames == 0:
            self._file.close()
            raise MediaError("the audio file holds no samples")

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return int(self._file.samplerate)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self._file.channels)

    def blocks(self) -> Iterator[Samples]:
        """The whole file, a block at a time. A file that ends before its header says is an error, not a short recording."""
        read = 0
        while True:
            try:
                block = self._file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise MediaError(f"decoding failed after {read} frames ({_reason(error)})", offset=read) from error
            if len(block) == 0:
                break
            if not np.isfinite(block).all():
                raise MediaError(f"a sample after frame {read} is not a finite number", offset=read)
            read += len(block)
            yield block
        if read < self._file.frames:
            raise MediaError(f"the file ends after {read} of {self._file.frames} frames", offset=read)

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error)
    return text.strip().rstrip(".").replace("\n", " ")


class Resampler:
    """Streaming sample-rate conversion (soxr, high quality) of float32[frames, channels]; a pass-through at equal rates."""

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        self._stream = None
        if source_rate != target_rate:
            self._stream = soxr.ResampleStream(source_rate, target_rate, channels, dtype="float32", quality="HQ")

    def push(self, block: Samples, last: bool = False) -> Samples:
        """Convert one block; with `last`, also what the filter still holds."""
        converted = block if self._stream is None else self._stream.resample_chunk(block, last=last)
        # A filter can overshoot full scale by a little, and files of floats hold what they like; the model takes [-1, 1].
        return np.clip(converted, -1.0, 1.0)


def windows_of(source: Path | BinaryIO, formats: Sequence[WindowFormat]) -> Iterator[tuple[WindowFormat, Window]]:
    """Every window of an audio file in each of the formats, from decoding it once. Raises MediaError.

    Within one format windows come in order of position, and channel by channel within each position.
    """
    with AudioFile(source) as audio:
        rates = {format.sample_rate for format in formats}
        resamplers = {rate: Resampler(audio.sample_rate, rate, audio.channels) for rate in rates}
        windowers = {format: Windower(format, audio.channels) for format in formats}
        silence = np.zeros((0, audio.channels), dtype=np.float32)
        for block, last in chain(((block, False) for block in audio.blocks()), [(silence, True)]):
            converted = {rate: resampler.push(block, last) for rate, resampler in resamplers.items()}
            for format, windower in windowers.items():
                for window in windower.push(converted[format.sample_rate]):
                    yield format, window
        for format, windower in windowers.items():
            for window in windower.finish():
                yield format, window


def find_audio(folder: Path, _above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Audio files below `folder` by their suffix, in an order that is the same everywhere. Hidden files are left out.

    Linked folders are followed, but not into themselves.
    """
    above = _above | {folder.resolve()}
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if path.resolve() not in above:
                yield from find_audio(path, above)
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            yield path

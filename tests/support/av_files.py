"""Encode sound with PyAV: MP4, Matroska, Windows Media, AVI and raw AAC, also with pictures, several tracks, or gaps."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

RATE = 48000
_LAYOUTS = {1: "mono", 2: "stereo"}
# Sample format that an encoder takes, where it is not fltp.
_FORMATS = {"flac": "s16", "pcm_s16le": "s16", "alac": "s16p", "libopus": "flt"}


def sound(seconds: float = 1.0, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """A sweep in noise, which is like itself at no other place: float32[frames, channels], in whole 16-bit steps."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    one = 0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time) + 0.05 * rng.standard_normal(len(time))
    return np.stack([np.rint(one * 0.8**channel * 32768) / 32768 for channel in range(channels)], axis=1).astype(np.float32)


def encoded(
    container: str,
    codec: str,
    *tracks: NDArray[np.float32],
    options: dict[str, str] | None = None,
    rate: int = RATE,
    has_video: bool = False,
    default: int | None = None,
    skip: tuple[int, int] | None = None,
) -> bytes:
    """The bytes of a file. container, options: of FFmpeg. default: track that is marked as such.

    skip: frames of 1,024 samples from which, and to which, nothing is written while time goes on.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        with av.open(str(path), "w", format=container, options=options or {}) as file:
            pictures = _video_stream(file) if has_video else None
            streams = [_stream(file, codec, samples.shape[1], rate) for samples in tracks]
            for number, stream in enumerate(streams):
                if default is not None:
                    stream.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
            for packet in _video_packets(pictures) if pictures else ():
                file.mux(packet)
            for stream, samples in zip(streams, tracks, strict=True):
                for packet in _packets(stream, samples, codec, rate, skip):
                    file.mux(packet)
        return path.read_bytes()


def _stream(file: Any, codec: str, channels: int, rate: int) -> Any:
    stream = file.add_stream(codec, rate=rate, layout=_LAYOUTS[channels])
    stream.bit_rate = 128_000
    return stream


def _packets(stream: Any, samples: NDArray[np.float32], codec: str, rate: int, skip: tuple[int, int] | None) -> Sequence[Any]:
    format, layout = _FORMATS.get(codec, "fltp"), _LAYOUTS[samples.shape[1]]
    packets = []
    for number, start in enumerate(range(0, len(samples), 1024)):
        if skip and skip[0] <= number < skip[1]:
            continue
        part = samples[start : start + 1024]
        values = np.rint(part * 32768).astype(np.int16) if format.startswith("s16") else part
        array: Any = np.ascontiguousarray(values.T) if format.endswith("p") else values.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(array, format=format, layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def _video_stream(file: Any) -> Any:
    stream = file.add_stream("mpeg4", rate=25)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    return stream


def _video_packets(stream: Any) -> Iterator[Any]:
    for number in range(25):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 10 * number, np.uint8), "rgb24")
        frame.pts = number
        yield from stream.encode(frame)
    yield from stream.encode(None)

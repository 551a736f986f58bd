"""Real raw items for parity and calibration, read from a folder of audio files or a .npy file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from avizor_export.calibrate import Recording
from avizor_inference.audio import find_audio, windows_of
from avizor_inference.errors import ExportError, MediaError
from avizor_inference.manifest import AudioInput, InputSpec
from avizor_inference.sources import DEFAULT_SOURCE, SourceRule


def recordings(path: Path, spec: InputSpec, rule: SourceRule) -> Iterator[Recording]:
    """Recordings below `path`, with their sources: audio files cut into windows, or the items of a .npy file one by one.

    Raises ExportError: calibration data that cannot be read is not left out silently.
    """
    if path.suffix == ".npy":
        yield from _items(path, spec)
    elif isinstance(spec, AudioInput) and path.is_dir():
        yield from _audio(path, spec, rule)
    else:
        raise ExportError(f"{path}: give a .npy file of raw items, or for sound a folder of audio files")


def _items(path: Path, spec: InputSpec) -> Iterator[Recording]:
    tensor = spec.tensor()
    try:
        items = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} is not a .npy file that can be read: {error}") from error
    if items.dtype != np.dtype(tensor.dtype) or items.shape[1:] != tensor.item_shape:
        raise ExportError(f"{path} holds {items.dtype}{list(items.shape)}; wanted {tensor.dtype}[n, {tensor.item_shape}]")
    for item in items:
        yield DEFAULT_SOURCE, np.array(item[None])


def _audio(folder: Path, spec: AudioInput, rule: SourceRule) -> Iterator[Recording]:
    for path in find_audio(folder):
        source = rule.source_of(path.relative_to(folder))
        channels: dict[int, list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]] = {}
        try:
            for _, window in windows_of(path, [spec.window_format()]):
                channels.setdefault(window.channel, []).append(window.samples)
        except MediaError as error:
            raise ExportError(f"{path}: {error}; mend or remove the file") from error
        for windows in channels.values():
            yield source, np.stack(windows)

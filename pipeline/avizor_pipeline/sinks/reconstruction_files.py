"""Write what autoencoders make of the items of a shard: a PNG of a picture, a WAV of a sound, below DIR/MODEL/.

Files are written below DIR/.unfinished, flushed and renamed before the shard is committed. Their names follow from the items,
so a shard that is done again replaces what it wrote before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from avizor_inference.arrays import Array
from avizor_inference.durable_files import flush, make_folder, sync_folder
from avizor_inference.errors import InvalidInput, SettingsError
from avizor_inference.items.dataset import Entry
from avizor_inference.items.images import encode_png
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.item_names import item_file_name
from avizor_inference.items.join_windows import WindowJoiner
from avizor_inference.items.kinds.base import Span
from avizor_inference.items.wav_writer import WavWriter
from avizor_inference.object_store import is_url, url_of
from avizor_pipeline.sinks.outside_datasets import check_outside
from avizor_pipeline.sinks.write_errors import writing

_UNFINISHED = ".unfinished"

_SUFFIXES = _PICTURE, _SOUND = ".png", ".wav"

# A file above this size may hold more sound than a WAV can; its reconstruction is written as RF64, which most programs read.
_LARGE_BYTES = 64 * 2**20

# Files that are flushed at once: a disk does several of them nearly in the time of one.
_FLUSHED_AT_ONCE = 8


def check_folder(folder: Path, roots: Iterable[str], *, begun: bool) -> None:
    """Raise SettingsError if a job cannot write its reconstructions here. begun: whether it has written some before."""
    if is_url(folder):
        raise SettingsError(
            f"--reconstructions {url_of(folder)} is not on this machine; choose a folder, and copy it afterwards"
        )
    check_outside("--reconstructions", folder, roots)
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"--reconstructions {folder} is not a folder; choose another one")
    if not begun and folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"--reconstructions {folder} is not empty; choose another folder, one for each job")


def begin_folder(folder: Path) -> None:
    """Make the folder, and remove what workers of an interrupted job left unfinished. Raises JobError."""
    with writing(folder):
        shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
        make_folder(folder / _UNFINISHED)


def end_folder(folder: Path) -> None:
    """Remove what is of no use when the job has ended."""
    shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)


class _Sound:
    """Writes one WAV as its windows come, in memory that does not grow with the sound."""

    def __init__(self, path: Path, spec: InputSpec, *, large: bool) -> None:
        self.path, self._large = path, large
        self._to_samples, format = spec.to_samples(), spec.window_format()
        assert format  # sound is cut into windows
        self._rate = int(format.sample_rate or 0)
        self._joiner = WindowJoiner()
        self._first_channel: int | None = None
        self._writer: WavWriter | None = None

    def add(self, spans: Sequence[Span | None], outputs: Array) -> None:
        for window, span in zip(self._to_samples(outputs), spans, strict=True):
            assert span  # of a sound
            self._first_channel = span.channel if self._first_channel is None else self._first_channel  # one may be chosen
            self._write(self._joiner.push(window, span._replace(channel=span.channel - self._first_channel)))

    def finish(self) -> None:
        self._write(self._joiner.finish())
        self.close()

    def close(self) -> None:
        if self._writer:
            self._writer.close()

    def _write(self, samples: Array | None) -> None:
        if samples is not None:
            self._writer = self._writer or WavWriter(self.path, self._rate, len(samples), large=self._large)
            self._writer.write(samples)


class ReconstructionFiles:
    """Holds the files of one shard. Nothing is seen below its name before `close`. Methods raise JobError for a full disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sounds: dict[tuple[str, str], _Sound] = {}  # by model and uri
        self._written: dict[tuple[str, str], tuple[Path, Path]] = {}  # temporary and final path
        self._failed: set[tuple[str, str]] = set()

    def add(self, model: str, spec: InputSpec, entry: Entry, spans: Sequence[Span | None], outputs: Array) -> None:
        """Take in reconstructions of one item in the order of its rows: of an image, or of some windows of a sound.

        An item whose reconstruction is not finite, or longer than a WAV can be, gets no file.
        """
        key = model, entry.uri
        if key in self._failed:
            return
        try:
            with writing(self._folder):
                if spans[0] is None:
                    self._paths(key, _PICTURE)[0].write_bytes(encode_png(spec.to_picture()(outputs[0])))
                else:
                    if key not in self._sounds:
                        for earlier in [each for each in self._sounds if each[0] == model]:
                            self._finish(earlier)  # its rows come item by item, and each sound holds a window
                        path, _ = self._paths(key, _SOUND)
                        self._sounds[key] = _Sound(path, spec, large=entry.size > _LARGE_BYTES)
                    self._sounds[key].add(spans, outputs)
        except InvalidInput:
            self._failed.add(key)

    def name(self, model: str, uri: str) -> str | None:
        """Return the path of an item's file below the folder; None if there is none."""
        paths = self._written.get((model, uri))
        return str(paths[1].relative_to(self._folder)) if paths and (model, uri) not in self._failed else None

    def close(self, models: Sequence[str], unread: Iterable[str]) -> None:
        """Finish the files under their final names.

        models: those that reconstruct. unread: uris of items that could not be read: they have no file.
        """
        dropped = set(unread)
        with writing(self._folder):
            for key in [*self._sounds]:
                self._finish(key, is_dropped=key[1] in dropped)
            kept = [key for key in self._written if key not in self._failed and key[1] not in dropped]
            for key in self._written.keys() - set(kept):
                self._written[key][0].unlink(missing_ok=True)
            for model, uri in {*self._failed, *((model, uri) for model in models for uri in dropped)}:
                for suffix in _SUFFIXES:  # of a worker that died before its commit, or of the file before it was changed
                    (self._folder / model / item_file_name(uri, suffix)).unlink(missing_ok=True)
            folders = {self._written[key][1].parent for key in kept}
            for each in folders:
                make_folder(each)
            with ThreadPoolExecutor(_FLUSHED_AT_ONCE) as pool:
                list(pool.map(flush, [self._written[key][0] for key in kept]))
            for key in kept:
                os.replace(*self._written[key])
            for each in folders:
                sync_folder(each)

    def _finish(self, key: tuple[str, str], *, is_dropped: bool = False) -> None:
        """Write what is left of a sound, if it is of use, and close its file."""
        sound = self._sounds.pop(key)
        try:
            if not is_dropped and key not in self._failed:
                sound.finish()
        except InvalidInput:
            self._failed.add(key)
        sound.close()

    def _paths(self, key: tuple[str, str], suffix: str) -> tuple[Path, Path]:
        model, uri = key
        name = item_file_name(uri, suffix)
        return self._written.setdefault(key, (self._folder / _UNFINISHED / f"{model}-{name}", self._folder / model / name))

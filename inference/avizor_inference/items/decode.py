"""From one raw item to rows of a model's input tensor: the one home of this, for gateway, batch and export.

An item is an image, a sound, a row of a table, or a tensor. A sound is one row for each window of each channel; everything else
is one row.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from avizor_inference.arrays import Items
from avizor_inference.errors import InvalidInput, MediaError
from avizor_inference.items.audio import Level, windows_of
from avizor_inference.items.files import open_file
from avizor_inference.items.images import decode_image
from avizor_inference.items.inputs import AudioInput, ImageInput, InputSpec, TableInput
from avizor_inference.items.table_rows import Value, encode_row
from avizor_inference.items.windows import Window


@dataclass(frozen=True)
class ImageFile:
    """An encoded image: the bytes of a file, an open file, or a path."""

    source: bytes | BinaryIO | Path


@dataclass(frozen=True)
class SoundFile:
    """An encoded sound: the bytes of a file, an open file, or a path."""

    source: bytes | BinaryIO | Path


@dataclass(frozen=True)
class TableRow:
    """One row of a table: a value for each column. A column that is absent or None is a missing value."""

    values: Mapping[str, Value]


@dataclass(frozen=True)
class TensorBytes:
    """One item of the model's own tensor: little-endian values in C order, without the batch dimension."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


Content = ImageFile | SoundFile | TableRow | TensorBytes


def content_of_file(path: Path, spec: InputSpec) -> ImageFile | SoundFile:
    """Take a file for what the model takes. Raises InvalidInput if no file is one item of this model."""
    if isinstance(spec, ImageInput):
        return ImageFile(path)
    if isinstance(spec, AudioInput):
        return SoundFile(path)
    raise InvalidInput(f"a file is not one item of a model that takes {spec.modality}; give a model for images or sound")


class Span(NamedTuple):
    """The part of a sound that one row holds, at the model's sample rate."""

    channel: int
    start_sample: int
    length: int  # samples that are sound; fewer than a window only where the sound itself is shorter

    @property
    def end_sample(self) -> int:
        """The first sample after it."""
        return self.start_sample + self.length


class Row(NamedTuple):
    """One row of a model's tensor, `values[*item_shape]`, and where in a sound it is from; None for what is not a sound."""

    values: Items
    span: Span | None = None


@dataclass(frozen=True)
class Item:
    """One whole item.

    rows: `[rows >= 1, *item_shape]`. spans: one for each row, None for what is not a sound. is_short: whether it is a sound
    shorter than the model's window, which was filled up with zeros. level: how loud a sound is before clipping, else empty.
    """

    rows: Items
    spans: tuple[Span | None, ...]
    is_short: bool = False
    level: Level = field(default_factory=Level)


def decode_item(content: Content, spec: InputSpec, max_windows: int | None = None) -> Item:
    """Decode one item at once. Raises InvalidInput, or MediaError; also for a sound of more than `max_windows` windows."""
    level = Level()
    rows: list[Row] = []
    for _, row in stream_rows(content, [spec], level):
        if len(rows) == max_windows:
            raise MediaError(f"the recording has more than {max_windows} windows; send it in parts, or use the batch job")
        rows.append(row)
    return Item(np.stack([row.values for row in rows]), tuple(row.span for row in rows), is_short(rows[0], spec), level)


def stream_rows(content: Content, specs: Sequence[InputSpec], level: Level | None = None) -> Iterator[tuple[int, Row]]:
    """Yield every row of one item for each of several models, in bounded memory: the model's place in `specs`, and its row.

    The item is decoded once. For each model, rows are in order of position, and channel by channel at each position.
    level: takes note of how loud a sound is.
    Raises InvalidInput if a model does not take such items, MediaError if the item cannot be decoded.
    """
    for spec in specs:
        _check_kind(content, spec)
    if isinstance(content, SoundFile):
        yield from _sound_rows(content, specs, level)
        return
    for place, spec in enumerate(specs):
        yield place, Row(_single_row(content, spec))


def is_short(row: Row, spec: InputSpec) -> bool:
    """Whether a row is a whole sound that is shorter than the model's window."""
    return isinstance(spec, AudioInput) and row.span is not None and row.span.length < spec.window_samples


_TAKEN: Mapping[type[object], tuple[str, type[object]]] = {
    ImageFile: ("image", ImageInput),
    SoundFile: ("audio", AudioInput),
    TableRow: ("row", TableInput),
}


def _check_kind(content: Content, spec: InputSpec) -> None:
    if isinstance(content, TensorBytes):
        return  # every model takes its own tensor
    kind, taken_by = _TAKEN[type(content)]
    if not isinstance(spec, taken_by):
        takes = {"tensor": "tensor only", "table": "row"}.get(spec.modality, spec.modality)
        raise InvalidInput(f"the item holds {kind}; the model takes {takes}", field="content")


def _sound_rows(content: SoundFile, specs: Sequence[InputSpec], level: Level | None) -> Iterator[tuple[int, Row]]:
    formats = [spec.window_format() for spec in specs if isinstance(spec, AudioInput)]
    source = io.BytesIO(content.source) if isinstance(content.source, bytes) else content.source
    for format, window in windows_of(source, list(dict.fromkeys(formats)), level):
        row = _row_of(window)
        yield from ((place, row) for place, wanted in enumerate(formats) if wanted == format)


def _row_of(window: Window) -> Row:
    return Row(window.samples, Span(window.channel, window.start_sample, window.length))


def _single_row(content: Content, spec: InputSpec) -> Items:
    if isinstance(content, TensorBytes):
        return _tensor(content, spec)
    if isinstance(content, TableRow) and isinstance(spec, TableInput):
        return encode_row(content.values, spec)
    assert isinstance(content, ImageFile)  # _check_kind has seen to it
    assert isinstance(spec, ImageInput)
    if isinstance(content.source, Path):
        with open_file(content.source) as file:
            return decode_image(file, spec)
    return decode_image(content.source, spec)


def _tensor(tensor: TensorBytes, spec: InputSpec) -> Items:
    wanted = spec.tensor()
    if (tensor.dtype, tensor.shape) != (wanted.dtype, wanted.item_shape):
        actual, takes = f"{tensor.dtype or 'no dtype'}{list(tensor.shape)}", f"{wanted.dtype}{list(wanted.item_shape)}"
        raise InvalidInput(f"the tensor is {actual}; one item is {takes}", field="tensor")
    if len(tensor.data) != wanted.item_bytes:
        raise InvalidInput(f"the tensor holds {len(tensor.data)} bytes; one item is {wanted.item_bytes}", field="tensor.data")
    values = np.frombuffer(tensor.data, np.dtype(wanted.dtype).newbyteorder("<")).astype(wanted.dtype)
    # NaN in a table's tensor is a missing value.
    if not (np.isfinite(values) | (np.isnan(values) if isinstance(spec, TableInput) else False)).all():
        raise InvalidInput("the tensor holds a value that is not a finite number", field="tensor.data")
    return values.reshape(wanted.item_shape)

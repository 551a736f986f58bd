"""From an item of a request to the model's tensor: one row for each window."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from google.protobuf.struct_pb2 import Struct

from avizor.v1 import inference_pb2 as pb
from avizor_inference.arrays import Array
from avizor_inference.errors import InvalidInput, MediaError
from avizor_inference.items.audio import Level, windows_of
from avizor_inference.items.images import decode_image
from avizor_inference.items.inputs import AudioInput, ImageInput, InputSpec, TableInput
from avizor_inference.items.table_rows import Value, encode_row
from avizor_inference.items.windows import Window


@dataclass(frozen=True)
class Decoded:
    """One item as rows of the model's tensor, [windows, *item_shape], and the stretch of sound that each row is.

    is_short: whether it is a recording shorter than the model's window, which was filled up. clipped: whether it holds samples
    beyond full scale.
    """

    rows: Array
    spans: tuple[pb.Span, ...]
    is_short: bool = False
    clipped: bool = False


def decode(item: pb.Item, spec: InputSpec, max_windows: int) -> Decoded:
    """Decode one item. Raises InvalidInput or MediaError; a recording of more than `max_windows` windows is refused."""
    kind = item.WhichOneof("content")
    if kind == "tensor":
        return Decoded(_tensor(item.tensor, spec)[None], (pb.Span(),))
    if kind == "image" and isinstance(spec, ImageInput):
        return Decoded(decode_image(item.image, spec)[None], (pb.Span(),))
    if kind == "audio" and isinstance(spec, AudioInput):
        return _audio(item.audio, spec, max_windows)
    if kind == "row" and isinstance(spec, TableInput):
        return Decoded(encode_row(_values(item.row), spec)[None], (pb.Span(),))
    wanted = {"tensor": "tensor only", "table": "row"}.get(spec.modality, spec.modality)
    raise InvalidInput(f"the item holds {kind or 'nothing'}; the model takes {wanted}", field="content")


def _audio(data: bytes, spec: AudioInput, max_windows: int) -> Decoded:
    windows: list[Window] = []
    level = Level()
    for _, window in windows_of(io.BytesIO(data), [spec.window_format()], level):
        if len(windows) == max_windows:
            raise MediaError(f"the recording has more than {max_windows} windows; send it in parts, or use the batch job")
        windows.append(window)
    rate = spec.sample_rate
    spans = (
        pb.Span(channel=each.channel, start_s=each.start_sample / rate, end_s=(each.start_sample + each.length) / rate)
        for each in windows
    )
    is_short = windows[0].length < spec.window_samples
    rows = np.stack([window.samples for window in windows])
    return Decoded(rows, tuple(spans), is_short=is_short, clipped=level.beyond > 0)


def _values(row: Struct) -> dict[str, Value]:
    """Plain values of a row. A list or an object is no value of a column."""
    found: dict[str, Value] = {}
    for name, value in row.fields.items():
        kind = value.WhichOneof("kind")
        if kind in ("list_value", "struct_value"):
            raise InvalidInput(f"column {name!r} holds a list or an object; give a number or a name", field=f"row.{name}")
        found[name] = None if kind in (None, "null_value") else getattr(value, kind)
    return found


def _tensor(tensor: pb.Tensor, spec: InputSpec) -> Array:
    wanted = spec.tensor()
    if (tensor.dtype, tuple(tensor.shape)) != (wanted.dtype, wanted.item_shape):
        given, takes = f"{tensor.dtype or 'no dtype'}{list(tensor.shape)}", f"{wanted.dtype}{list(wanted.item_shape)}"
        raise InvalidInput(f"the tensor is {given}; one item is {takes}", field="tensor")
    if len(tensor.data) != wanted.item_bytes:
        raise InvalidInput(f"the tensor holds {len(tensor.data)} bytes; one item is {wanted.item_bytes}", field="tensor.data")
    values = np.frombuffer(tensor.data, np.dtype(wanted.dtype).newbyteorder("<")).astype(wanted.dtype)
    # NaN in a table's tensor is a missing value.
    if not (np.isfinite(values) | (np.isnan(values) if isinstance(spec, TableInput) else False)).all():
        raise InvalidInput("the tensor holds a value that is not a finite number", field="tensor.data")
    return values.reshape(wanted.item_shape)

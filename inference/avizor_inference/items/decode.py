"""Turn one raw item into rows of a model's input tensor: the one home of this, for gateway, batch and export.

How an item of a kind becomes rows is in the kind's own file below `kinds/`. A recording is one row for each window of each
channel; everything else is one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avizor_inference.arrays import Items
from avizor_inference.errors import InvalidInput, MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.base import Content, FileContent, OneRow, Row, Span, TensorBytes


@dataclass(frozen=True)
class Item:
    """Holds one whole item.

    rows: `[rows >= 1, *item_shape]`. spans: one for each row, None for what is not a sound. is_short: whether it is a sound
    shorter than the model's window, which was filled up with zeros. level: how loud a sound is before clipping, else empty.
    note: what may surprise in how the row was made, for people.
    """

    rows: Items
    spans: tuple[Span | None, ...]
    is_short: bool = False
    level: Level = field(default_factory=Level)
    note: str = ""


def content_of_file(path: Path, spec: InputSpec) -> FileContent:
    """Take a file for what the model takes. Raises InvalidInput if no file is one item of this model."""
    content = spec.file_content()
    if content is None:
        raise InvalidInput(f"a file is not one item of a model that takes {spec.modality}; give a model whose items are files")
    return content(path)


def decode_item(content: Content, spec: InputSpec, max_windows: int | None = None, max_bytes: int | None = None) -> Item:
    """Decode one item at once. Raises InvalidInput, or MediaError.

    Also for a sound of more than `max_windows` windows, and for an item whose rows have more than `max_bytes` bytes.
    """
    if isinstance(content, OneRow) and spec.takes(content) and (max_bytes is None or spec.tensor_spec.item_bytes <= max_bytes):
        values, note = content.noted_row(spec)
        return Item(values[None], (None,), note=note)
    level = Level()
    rows: list[Row] = []
    for _, row in stream_rows(content, [spec], level):
        if len(rows) == max_windows:
            raise MediaError(f"the recording has more than {max_windows} windows; send it in parts, or use the batch job")
        if max_bytes is not None and (len(rows) + 1) * row.values.nbytes > max_bytes:
            raise MediaError(
                f"the item decodes to more than the {max_bytes / 2**20:.1f} MiB that are left for it; send shorter recordings, "
                "or fewer items in one request"
            )
        rows.append(row)
    return Item(np.stack([row.values for row in rows]), tuple(row.span for row in rows), spec.is_short(rows[0].span), level)


def stream_rows(content: Content, specs: Sequence[InputSpec], level: Level | None = None) -> Iterator[tuple[int, Row]]:
    """Yield every row of one item for each of several models, in bounded memory: the model's place in `specs`, and its row.

    A sound is decoded once. For each model, rows are in order of position, and channel by channel at each position.
    level: takes note of how loud a sound is.
    Raises InvalidInput if a model does not take such items, MediaError if the item cannot be decoded.
    """
    for spec in specs:
        if not spec.takes(content):
            takes = " or ".join(content.name for content in spec.contents()) or "tensor only"
            remedy = f"send {(spec.content or TensorBytes).noun}, or ask a model that takes {content.name}"
            raise InvalidInput(f"the item holds {content.name}; the model takes {takes}: {remedy}", field="content")
    yield from content.rows(specs, level)

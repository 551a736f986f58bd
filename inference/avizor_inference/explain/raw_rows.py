"""Read the items that are to be explained, as rows of the model's input."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from avizor_inference.arrays import Items
from avizor_inference.errors import InvalidInput, MediaError
from avizor_inference.items.data.item_files import read_recordings
from avizor_inference.items.decode import content_of_file, decode_item
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.base import Span
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.items.windows import ChannelMode

# More windows of one item, or rows of one table, are not looked at one by one.
MAX_ROWS = 4096


@dataclass(frozen=True, eq=False)
class RawRow:
    """Holds one row of a model's input, values[*item_shape]. item: the path it is from. index: its place there, from 0.

    span: the part of a sound that it holds; None for what is no sound.
    """

    item: str
    index: int
    values: Items
    span: Span | None = None


def read_rows(path: Path, spec: InputSpec, channels: ChannelMode = "each") -> list[RawRow]:
    """Read one file: the windows of a recording, an image, or the rows of a table or a .npy file. At most MAX_ROWS of them.

    Raises InvalidInput, MediaError, DatasetError.
    """
    if spec.file_content() is None or path.suffix.lower() == ".npy":
        recordings = islice(read_recordings(path, spec, SourceRule(""), channels=channels), MAX_ROWS)
        return [RawRow(str(path), index, each.windows[0]) for index, each in enumerate(recordings)]
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; name the files in it, as in {path}/*")
    try:
        item = decode_item(content_of_file(path, spec).taking(channels), spec, max_windows=MAX_ROWS)
    except MediaError as error:
        raise MediaError(f"{path}: {error}", error.offset) from error
    return [
        RawRow(str(path), index, values, span) for index, (values, span) in enumerate(zip(item.rows, item.spans, strict=True))
    ]

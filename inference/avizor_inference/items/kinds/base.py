"""Define what the rest asks of a kind of item, so that nothing else has to name it: its description, and its content.

A description (`ItemInput`) says what a model takes. A content (`Content`) is one item as it comes, and can become rows of the
model's tensor.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, NamedTuple

import numpy as np

from avizor_inference.arrays import Array, Floats, Items, Pixels, Samples
from avizor_inference.errors import InvalidInput
from avizor_inference.items.file_access import open_file
from avizor_inference.items.file_marks import suffix_by_content
from avizor_inference.items.kinds.short_form import fields_of
from avizor_inference.items.sections import Section
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.items.windows import ChannelMode, WindowFormat
from avizor_inference.strict_json import Strict

if TYPE_CHECKING:  # or reading a manifest would load the decoders of sound
    from avizor_inference.items.audio import Level


class Span(NamedTuple):
    """Describes the part of a sound that one row holds, at the model's sample rate."""

    channel: int
    start_sample: int
    length: int  # samples that are sound; fewer than a window only where the sound itself is shorter

    @property
    def end_sample(self) -> int:
        """Return the first sample after it."""
        return self.start_sample + self.length


class Row(NamedTuple):
    """Holds one row of a model's tensor, `values[*item_shape]`, and where in a sound it is from; None if it is no sound."""

    values: Items
    span: Span | None = None


class FileForm(NamedTuple):
    """Holds an item as a file that a dataset may have. is_pack: whether such files may hold many items; this one holds one."""

    suffix: str
    data: bytes
    is_pack: bool = False


class Content(ABC):
    """Holds one item as it comes.

    name: the field of avizor.v1.Item that holds it. noun: the same for messages, with its article. several: what a number of
    them are called, with an s.
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    several: ClassVar[str] = "items"

    @property
    def is_media(self) -> bool:
        """Return whether it is decoded in a process with limits: it may take long, or much memory, whatever its own size.

        Such content is a dataclass with its bytes in one field.
        """
        return False

    @abstractmethod
    def rows(self, specs: Sequence[ItemInput], level: Level | None) -> Iterator[tuple[int, Row]]:
        """Yield the rows for each of several models that take it: the model's place in `specs`, and its row.

        See `decode.stream_rows`.
        """

    def count_rows(self, spec: ItemInput) -> int | None:
        """Return the number of rows for a model that takes it, as its header tells; None if it does not tell.

        Raises MediaError if the header cannot be read.
        """
        return None

    def taking(self, channels: ChannelMode) -> Content:
        """Return the same with other channels for a model that takes one at a time; what is no sound as it is."""
        return self

    def others(self, spec: ItemInput) -> dict[str, str]:
        """Return what the item holds for people, and a model does not take: texts by their names."""
        return {}

    @abstractmethod
    def file_form(self, spec: ItemInput) -> FileForm:
        """Return the item as a file, from which a model that takes it reads the same. spec: of the model that has taken it."""


class OneRow(Content):
    """Holds an item that is one row of the tensor."""

    @abstractmethod
    def row(self, spec: ItemInput) -> Items:
        """Return the row, [*item_shape]. Raises InvalidInput, MediaError."""

    def noted_row(self, spec: ItemInput) -> tuple[Items, str]:
        """Return the row, and what may surprise in how it was made, for people; "" where nothing does. Raises as `row`."""
        return self.row(spec), ""

    def rows(self, specs: Sequence[ItemInput], level: Level | None) -> Iterator[tuple[int, Row]]:
        """See Content."""
        yield from ((place, Row(self.row(spec))) for place, spec in enumerate(specs))

    def count_rows(self, spec: ItemInput) -> int | None:
        """See Content."""
        return 1

    def file_form(self, spec: ItemInput) -> FileForm:
        """See Content. By default it is an array with the one row of the tensor."""
        file = io.BytesIO()
        np.save(file, self.row(spec)[None])
        return FileForm(".npy", file.getvalue(), is_pack=True)


@dataclass(frozen=True)
class FileContent(Content):
    """Holds an encoded file: its bytes, an open file, or a path.

    suffixes: of the files that folders are searched for, in small letters. plural: what a folder holds, for messages.
    suffixes_of_sections: of the files that may be read section by section. more_suffixes: of files that could be read if more
    was installed, or if they were converted -> how.
    """

    source: bytes | BinaryIO | Path

    suffixes: ClassVar[frozenset[str]]
    suffixes_of_sections: ClassVar[frozenset[str]] = frozenset()
    plural: ClassVar[str]
    more_suffixes: ClassVar[Mapping[str, str]] = {}

    @property
    def is_media(self) -> bool:
        """See Content."""
        return True

    def of_section(self, section: Section) -> FileContent:
        """Return one section of it, for a kind with `suffixes_of_sections`: all sections together have each row once."""
        raise NotImplementedError

    def file_form(self, spec: ItemInput) -> FileForm:
        """See Content. Its bytes stay as they are. Raises MediaError if they cannot be read."""
        with self.open() as file:
            data = file.read()
        return FileForm(suffix_by_content(data, self.suffixes), data)

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Open the source to be read. What was open before stays so. Raises MediaError."""
        if isinstance(self.source, Path):
            return open_file(self.source)
        return nullcontext(io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source)


@dataclass(frozen=True)
class TensorBytes(OneRow):
    """Holds one item of the model's own tensor: little-endian values in C order, no batch dimension. Every kind takes it."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    name: ClassVar[str] = "tensor"
    noun: ClassVar[str] = "a tensor"

    def row(self, spec: ItemInput) -> Items:
        """See OneRow."""
        wanted = spec.tensor_spec
        if (self.dtype, self.shape) != (wanted.dtype, wanted.item_shape):
            actual, takes = f"{self.dtype or 'no dtype'}{list(self.shape)}", f"{wanted.dtype}{list(wanted.item_shape)}"
            raise InvalidInput(f"the tensor is {actual}; one item is {takes}", field="tensor")
        if len(self.data) != wanted.item_bytes:
            raise InvalidInput(f"the tensor holds {len(self.data)} bytes; one item is {wanted.item_bytes}", field="tensor.data")
        values: Items = np.frombuffer(self.data, wanted.wire_dtype).astype(wanted.dtype, copy=False)
        if not _all_finite(values, or_missing=spec.nan_is_missing):
            raise InvalidInput("the tensor holds a value that is not a finite number", field="tensor.data")
        return values.reshape(wanted.item_shape)


def _all_finite(values: Items, *, or_missing: bool) -> bool:
    """Return whether all values are finite numbers, or NaN where that is a missing value."""
    if values.dtype.kind != "f":
        return True
    finite = np.isfinite(values)
    good = finite | np.isnan(values) if or_missing else finite
    return int(np.count_nonzero(good)) == good.size  # all() takes twice as long for a small tensor


class ItemInput(Strict, ABC):
    """Describes one raw item of a model. A kind overrides what differs; its `front_end`, if it has one, is a field.

    modality: the name of the kind, each one's own. The gateway's message has a field of this name, and export a module
    (`avizor_export.front_ends.kinds`). content: what is taken besides TensorBytes. other_contents: the same in other forms.
    nan_is_missing: NaN in the tensor is a missing value. value_range: what the tensor's values lie within, where not every
    number of its type is allowed.
    """

    modality: str

    content: ClassVar[type[Content] | None] = None
    other_contents: ClassVar[tuple[type[Content], ...]] = ()
    nan_is_missing: ClassVar[bool] = False
    value_range: ClassVar[tuple[float, float] | None] = None

    @abstractmethod
    def tensor(self) -> TensorSpec:
        """Return the graph's input."""

    @cached_property
    def tensor_spec(self) -> TensorSpec:
        """Return `tensor()`, made once: every item is compared with it."""
        return self.tensor()

    @property
    def passes_missing(self) -> bool:
        """Return whether the front end leaves missing values NaN, for the network to handle."""
        return False

    def window_format(self) -> WindowFormat | None:
        """Return how recordings are cut for this model; None if an item is one row."""
        return None

    def usual_values(self) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of usual raw values, each of a shape that broadcasts to an item."""
        return np.zeros(()), np.ones(())

    def feature_names(self) -> tuple[str, ...]:
        """Return the names of what the network sees, in order; empty where features have no names."""
        return ()

    def column_names(self) -> tuple[str, ...]:
        """Return the columns of a table of which an item is a row; empty where it is none."""
        return ()

    def preparation(self) -> str:
        """Return what is done to an item before it is the graph's input, for people; empty where nothing is."""
        return ""

    @classmethod
    def fields_of(cls, text: str) -> dict[str, object]:
        """Return the fields that the short form `key=value,...` gives. Raises ValueError naming the key that is wrong."""
        return fields_of(text, cls)

    @classmethod
    def file_content(cls) -> type[FileContent] | None:
        """Return what one file is; None if no file is one item."""
        return cls.content if cls.content and issubclass(cls.content, FileContent) else None

    @property
    def front_end_parameters(self) -> Strict | None:
        """Return the front end's parameters; None for a model without a front end."""
        return getattr(self, "front_end", None)

    @property
    def suffixes(self) -> frozenset[str]:
        """Return the suffixes of the files that are items; empty if no file is one item."""
        content = self.file_content()
        return content.suffixes if content else frozenset()

    @classmethod
    def contents(cls) -> tuple[type[Content], ...]:
        """Return what is taken besides TensorBytes."""
        return (cls.content, *cls.other_contents) if cls.content else ()

    def takes(self, content: Content) -> bool:
        """Return whether the model takes such an item."""
        return isinstance(content, self._taken)

    @cached_property
    def _taken(self) -> tuple[type[Content], ...]:
        """Return what is taken, made once: every item is compared with it, and more than once."""
        return (TensorBytes, *self.contents())

    def to_picture(self) -> Callable[[Array], Pixels]:
        """Return what makes a picture of the reconstruction of one item, on the scale of the front end's output.

        Pictures are uint8[height, width, channels], RGB. Raises InvalidInput if the model reconstructs no picture.
        """
        raise InvalidInput(f"a model that takes {self.modality} reconstructs no picture; ask for the tensor", field="format")

    def to_samples(self) -> Callable[[Array], Samples]:
        """Return what makes float32[windows, channels, samples] of the reconstructions of windows of sound.

        Raises InvalidInput if the model reconstructs no samples.
        """
        raise InvalidInput(f"a model that takes {self.modality} reconstructs no sound; ask for the tensor", field="format")

    def is_short(self, span: Span | None) -> bool:
        """Return whether a row is a whole recording that is shorter than the model's window. span: of the row."""
        format = self.window_format()
        return format is not None and span is not None and span.length < format.window

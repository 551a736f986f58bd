"""Define what the gateway and a decoder process tell each other.

The gateway is trusted: its requests are pickled. A decoder reads files of strangers and is not: its answers are JSON and raw
numbers, whose sizes the gateway knows in advance.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np

from avizor_inference.arrays import Items
from avizor_inference.errors import DecoderEnded, InvalidInput, MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.decode import Item
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.base import Content, Span
from avizor_inference.items.tensor_spec import TensorSpec

# Before each message: the sizes of its head and of its body, in bytes.
PREFIX = struct.Struct("<IQ")

# A decoder sends this once it is ready for items.
READY = b"+"

# The exit code of a decoder that ran out of the memory it may use.
OUT_OF_MEMORY = 3

# The longest head of an answer, with its prefix. An error with the most text, all of it escaped, is shorter.
MOST_HEAD_BYTES = 2**16

# A body of at most so many bytes is copied behind its head, and sent with it.
SMALL_BYTES = 2**16

_INVALID = "it gave no valid answer"
_SPAN = np.dtype("<i8")
Parts = tuple[bytes, bytes | memoryview]


@dataclass(frozen=True)
class Limits:
    """Holds what one item may become: so many windows, and so many bytes of rows."""

    windows: int
    bytes: int


@dataclass(frozen=True)
class Request:
    """Holds one item to decode."""

    content: Content
    spec: InputSpec
    limits: Limits


def pack_request(request: Request) -> Parts:
    """Return a request. Its last part are the content's bytes as they are, so that they are not copied."""
    fields = dataclasses.fields(cast(Any, request.content))
    values = {field.name: getattr(request.content, field.name) for field in fields}
    name, body = next((name, value) for name, value in values.items() if isinstance(value, bytes))
    del values[name]
    head = pickle.dumps((type(request.content), values, name, _packed(request.spec)[0], request.limits), protocol=5)
    return PREFIX.pack(len(head), len(body)) + head, body


def unpack_request(head: bytes, body: bytes) -> Request:
    """Return the request of a head and a body."""
    kind, values, name, spec, limits = pickle.loads(head)  # noqa: S301 - from the gateway
    return Request(kind(**values, **{name: body}), _unpacked(spec), limits)


def pack_item(item: Item) -> Parts:
    """Return an answer with a decoded item."""
    spans = np.array([span for span in item.spans if span is not None], dtype=_SPAN)
    rows = np.ascontiguousarray(item.rows)
    level = dataclasses.astuple(item.level)
    head = json.dumps({"rows": len(rows), "spans": bool(spans.size), "is_short": item.is_short, "level": level}).encode()
    prefix = PREFIX.pack(len(head), spans.nbytes + rows.nbytes) + head
    return prefix + spans.tobytes(), rows.data.cast("B")


def pack_error(error: Exception, traceback: str = "") -> Parts:
    """Return an answer with an error. traceback: of one that is not the item's fault."""
    where = {"offset": error.offset} if isinstance(error, MediaError) else {"field": getattr(error, "field", "")}
    fields = {"error": type(error).__name__, "message": str(error)[-4000:], "traceback": traceback[-4000:], **where}
    # At most six bytes for a character; escaped it may take twelve, and the head would be too long.
    head = json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return PREFIX.pack(len(head), 0) + head, b""


def joined(parts: Parts) -> list[bytes | memoryview]:
    """Return what is sent in one go each: the whole message if it is small, so that the other end is woken only once."""
    return [b"".join(parts)] if len(parts[1]) <= SMALL_BYTES else list(parts)


class Answer:
    """Reads an answer to a request, in the order in which it comes: its head, then its body into `buffers`."""

    def __init__(self, request: Request, head: bytes, body_bytes: int) -> None:
        try:
            self._fields: dict[str, Any] = json.loads(head)
            self._tensor, count = _packed(request.spec)[1], int(self._fields.get("rows", 0))
            has_spans = bool(self._fields.get("spans"))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise DecoderEnded(_INVALID) from error
        size = count * self._tensor.item_bytes
        if not 0 <= count <= request.limits.windows or size > request.limits.bytes:
            raise DecoderEnded(_INVALID)
        self._spans = np.empty((count if has_spans else 0, 3), _SPAN)
        if body_bytes != self._spans.nbytes + size:
            raise DecoderEnded(_INVALID)
        self._rows: Items = np.empty((count, *self._tensor.item_shape), self._tensor.dtype)

    def buffers(self) -> list[memoryview]:
        """Return what the body is read into, in this order."""
        return [array.data.cast("B") for array in (self._spans, self._rows) if array.size]

    def item(self) -> Item:
        """Return the decoded item, once the body is read. Raises what decode_item raises; DecoderEnded."""
        try:
            if "error" in self._fields:
                error = self._error()
            elif len(self._rows):
                spans = tuple(Span(*span) for span in self._spans.tolist()) or (None,) * len(self._rows)
                samples, beyond, peak, sample_rate, channels = self._fields["level"]
                level = Level(int(samples), int(beyond), float(peak), int(sample_rate), int(channels))
                return Item(self._rows, spans, bool(self._fields["is_short"]), level)
            else:
                error = DecoderEnded(_INVALID)
        except (KeyError, ValueError, TypeError, OverflowError) as wrong:
            raise DecoderEnded(_INVALID) from wrong
        raise error

    def _error(self) -> Exception:
        kind, message = self._fields["error"], str(self._fields.get("message"))
        if kind == MediaError.__name__:
            return MediaError(message, int(self._fields.get("offset", 0)))
        if kind == InvalidInput.__name__:
            return InvalidInput(message, str(self._fields.get("field", "")))
        return RuntimeError(f"a decoder failed at an item: {message}\n{self._fields.get('traceback', '')}")


@lru_cache(maxsize=1024)
def _packed(spec: InputSpec) -> tuple[bytes, TensorSpec]:
    """Return a description as a decoder gets it, and the tensor of its model."""
    return pickle.dumps(spec, protocol=5), spec.tensor()


@lru_cache(maxsize=1024)
def _unpacked(spec: bytes) -> InputSpec:
    unpacked: InputSpec = pickle.loads(spec)  # noqa: S301 - from the gateway
    return unpacked

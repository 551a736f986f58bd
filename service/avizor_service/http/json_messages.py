"""Translate between JSON and messages, in the form that protobuf defines. What JSON unpacks to is bounded before it is read."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToJson, ParseDict, ParseError
from google.protobuf.message import Message

from avizor_inference.errors import AnswerTooLarge, InvalidInput
from avizor_service.calls import Call
from avizor_service.message_fields import MOST_PARTS, PART_BYTES
from avizor_service.threads import Threads

Request = TypeVar("Request", bound=Message)
Result = TypeVar("Result")

# How often a text is in memory while it is read: as bytes, as text, and as what is made of it.
_COPIES = 3

# What begins each value, and each part of one. Within a text they are counted, too.
_MARKS = b",:[{"

# Bytes that are counted before others get their turn: under a millisecond.
_BYTES_AT_ONCE = 1 << 20

# Larger texts and messages are translated in a thread: that takes about a millisecond for so many bytes.
_LIGHT_BYTES = 8 << 10

_DEEPEST = 60

_turn = threading.Lock()

# The share of the largest answer that may be something else than bytes: as JSON that takes up to 24 times as much.
_SMALL_SHARE = 4


def one_at_a_time(function: Callable[..., Result], *arguments: object) -> Result:
    """Return `function(*arguments)`, which translates a large text: for a thread. One does so at a time in this process.

    Each takes several times its size meanwhile (docs/limits.md), and they would not be done sooner side by side.
    """
    with _turn:
        return function(*arguments)


async def json_bytes(body: bytes) -> int:
    """Return for how many bytes a JSON text counts, before it is read. Raises InvalidInput for one of too many parts."""
    parts = 0
    for start in range(0, len(body), _BYTES_AT_ONCE):
        piece = body[start : start + _BYTES_AT_ONCE]
        parts += sum(piece.count(mark) for mark in _MARKS)
        if parts > MOST_PARTS:
            raise InvalidInput(
                f"the JSON has more than {MOST_PARTS} commas, colons and brackets; send fewer items in one request, wide rows "
                "as tensors, and numbers of tensors as base64 or as binary data"
            )
        if len(body) > _BYTES_AT_ONCE:
            await asyncio.sleep(0)
    return _COPIES * len(body) + PART_BYTES * parts


def most_json_bytes(length: int) -> int:
    """Return for how many bytes a JSON text of a length counts at most."""
    return _COPIES * length + PART_BYTES * min(length, MOST_PARTS)


async def received(call: Call, kind: type[Request], threads: Threads, given: Mapping[str, Any]) -> Request:
    """Receive the body of a call, and return the message that it is.

    given: fields that the path has, which the body may not. Raises InvalidInput, and what Call.receive raises.
    """
    body = await call.receive(json_bytes, most_json_bytes)
    if len(body) <= _LIGHT_BYTES:
        return message_of(kind, body, given)
    return await threads.wait_for(one_at_a_time, message_of, kind, body, given)


def message_of(kind: type[Request], text: bytes, given: Mapping[str, Any]) -> Request:
    """Return the message that a JSON text and the fields of the path make. Raises InvalidInput."""
    fields = object_of(text)
    if both := fields.keys() & given.keys():
        raise InvalidInput(f"the path says which {' and '.join(sorted(both))}; leave it out of the body")
    return filled(kind(), fields | dict(given))


def object_of(text: bytes) -> dict[str, Any]:
    """Return the object that a JSON text is. Raises InvalidInput, also for repeated names and NaN."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unrepeated, parse_constant=_refuse)
    except RecursionError:
        raise InvalidInput("the JSON is nested too deeply") from None
    except ValueError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput("the JSON is not an object; send one: {...}")
    return value


def filled(message: Request, fields: dict[str, Any]) -> Request:
    """Fill a message with fields as JSON has them, and return it. Raises InvalidInput."""
    try:
        ParseDict(fields, message, max_recursion_depth=_DEEPEST)
    except (ParseError, ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"this is no {message.DESCRIPTOR.full_name}: {error}") from error
    _require_one_name(fields, message.DESCRIPTOR)
    return message


def _require_one_name(fields: Mapping[str, Any], kind: Any) -> None:
    """Raise InvalidInput if a field is given under both of its names, `top_k` and `topK`: the first would be lost silently.

    fields: what was read as a message of this kind (a descriptor) without an error.
    """
    if kind.full_name.startswith("google.protobuf."):  # such as a row: its names are the caller's own
        return
    seen: dict[str, str] = {}
    for name, value in fields.items():
        field = kind.fields_by_name.get(name) or kind.fields_by_camelcase_name[name]
        if field.name in seen:
            raise InvalidInput(f"{seen[field.name]} and {name} are the same field; send one of them", field=field.name)
        seen[field.name] = name
        inner = field.message_type
        if not value or inner is None or inner.GetOptions().map_entry:
            continue
        for each in value if field.is_repeated else [value]:
            _require_one_name(each, inner)


async def json_of(message: Message, threads: Threads, most_bytes: int) -> bytes:
    """Return a message as JSON. Fields that are 0, empty or false are there, too.

    most_bytes: of the largest answer. Raises AnswerTooLarge.
    """
    if message.ByteSize() <= _LIGHT_BYTES:
        return _json_of(message)
    return await threads.wait_for(_json_of_many_bytes, message, most_bytes)


def _json_of_many_bytes(message: Message, most_bytes: int) -> bytes:
    most = most_bytes // _SMALL_SHARE
    if message.ByteSize() > most and message.ByteSize() - _bytes_in(message) > most:
        raise AnswerTooLarge(
            f"the answer has over {most / 2**20:g} MiB besides tensors and files, more than this gateway writes as JSON; send "
            "fewer items or shorter recordings, or call over gRPC",
            field="items",
        )
    return one_at_a_time(_json_of, message)


def _json_of(message: Message) -> bytes:
    return MessageToJson(message, always_print_fields_with_no_presence=True, indent=None, ensure_ascii=False).encode()


def _bytes_in(message: Message) -> int:
    """Return how much of a message is in fields of bytes."""
    count = 0
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_BYTES:
            count += len(value)
        elif field.message_type and not field.message_type.GetOptions().map_entry:
            count += sum(map(_bytes_in, value if field.is_repeated else [value]))
    return count


def _unrepeated(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"{name[:50]!r} is repeated in one object")
        fields[name] = value
    return fields


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")

"""Write messages as JSON has them in the Open Inference Protocol: integers are numbers, fields have the names of the .proto."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.message import Message


def text_of(value: Any) -> bytes:
    """Return a value as JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def plain(message: Message, *, zeros: bool = False, unset: bool = False) -> dict[str, Any]:
    """Return the fields of a message. zeros: those too that are 0 or empty. unset: messages too that were not set."""
    found = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            is_there = zeros or bool(value)
        elif field.has_presence:
            is_there = message.HasField(field.name) or (unset and field.message_type is not None)
        else:
            is_there = zeros or value != field.default_value
        if is_there:
            found[field.name] = _plain(field, value, zeros, unset)
    return found


def _plain(field: Any, value: Any, zeros: bool, unset: bool) -> Any:
    if field.message_type and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {str(key): _plain_one(inner, each, zeros, unset) for key, each in value.items()}
    if field.is_repeated:
        return [_plain_one(field, each, zeros, unset) for each in value]
    return _plain_one(field, value, zeros, unset)


def _plain_one(field: Any, value: Any, zeros: bool, unset: bool) -> Any:
    if field.message_type:
        return plain(value, zeros=zeros, unset=unset)
    if field.enum_type:
        return field.enum_type.values_by_number[value].name
    return value.hex() if isinstance(value, bytes) else value

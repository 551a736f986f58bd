"""A three-way merge of two protobuf messages over the one that both come from: what a person changed is kept."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

_M = TypeVar("_M", bound=Message)


def merge(base: _M, edited: _M, new: _M) -> tuple[_M, list[str]]:
    """`new`, with everything in which `edited` differs from `base`; and the fields where that could not be.

    Those are the fields that differ from `base` in both and that have no fields of their own: there `new` is taken. Elements
    of a list are compared one by one where all three lists are as long; otherwise the list is one value. So is a oneof in
    which they chose different fields.
    """
    result = type(new)()
    replaced = list(_merge(base, edited, new, result, ""))
    return result, replaced


def _merge(base: Message, edited: Message, new: Message, into: Message, where: str) -> Iterator[str]:
    as_one: set[str] = set()
    for oneof in new.DESCRIPTOR.oneofs:
        choices = [message.WhichOneof(oneof.name) for message in (base, edited, new)]
        if len({*choices} - {None}) > 1:
            as_one.update(field.name for field in oneof.fields)
            chosen, choice = yield from _of_oneof(base, edited, new, choices, f"{where}{oneof.name}")
            if choice:
                _set(into, choice, _value(chosen, choice))
    for field in new.DESCRIPTOR.fields:
        if field.name in as_one:
            continue
        before, by_hand, now = (_value(message, field.name) for message in (base, edited, new))
        _set(into, field.name, (yield from _merged(before, by_hand, now, f"{where}{field.name}")))


def _of_oneof(
    base: Message, edited: Message, new: Message, choices: Sequence[str | None], where: str
) -> Generator[str, None, tuple[Message, str | None]]:
    """The message whose choice is taken, and that choice."""
    before, by_hand, now = choices
    values = [choice and _value(message, choice) for message, choice in zip((base, edited, new), choices, strict=True)]
    if (now, values[2]) == (before, values[0]):
        return edited, by_hand
    if (by_hand, values[1]) not in ((before, values[0]), (now, values[2])):
        yield where
    return new, now


def _merged(base: Any, edited: Any, new: Any, where: str) -> Generator[str, None, Any]:
    if edited in (base, new):
        return new
    if new == base:
        return edited
    if isinstance(edited, Message) and isinstance(new, Message):
        both = type(new)()
        yield from _merge(base if base is not None else type(new)(), edited, new, both, f"{where}.")
        return both
    if isinstance(new, dict):
        return (yield from _merged_map(base, edited, new, where))
    if isinstance(new, list) and new and isinstance(new[0], Message) and len(base) == len(edited) == len(new):
        elements = []
        for place, (before, by_hand, now) in enumerate(zip(base, edited, new, strict=True)):
            elements.append((yield from _merged(before, by_hand, now, f"{where}[{place}]")))
        return elements
    yield where
    return new


def _merged_map(
    base: Mapping[str, Any], edited: Mapping[str, Any], new: Mapping[str, Any], where: str
) -> Generator[str, None, dict[str, Any]]:
    entries = {}
    for key in sorted({*base, *edited, *new}):
        value = yield from _merged(base.get(key), edited.get(key), new.get(key), f"{where}[{key}]")
        if value is not None:
            entries[key] = value
    return entries


def _value(message: Message, name: str) -> Any:
    """A field's value that compares by content: a list, a dict, or a message, which is None where it is not set."""
    value = getattr(message, name)
    if isinstance(value, Message):
        return value if message.HasField(name) else None
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else value


def _set(message: Message, name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, Message):
        getattr(message, name).SetInParent()
        getattr(message, name).CopyFrom(value)
    elif isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, Message):
                getattr(message, name)[key].CopyFrom(each)
            else:
                getattr(message, name)[key] = each
    elif isinstance(value, list):
        getattr(message, name).extend(value)
    elif value != getattr(message, name):  # to set what it is anyhow would choose a oneof
        setattr(message, name, value)

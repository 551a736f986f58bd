"""Read the short form of an input description: `key=value,...`, for what needs no lists but of numbers and names."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import get_args, get_origin

from pydantic.fields import FieldInfo

from avizor_inference.strict_json import Strict, unknown_key

_NOT_WRITTEN = {"modality", "kind", "front_end"}


def fields_of(text: str, description: type[Strict], shorthands: Sequence[str] = ()) -> dict[str, object]:
    """Return the fields of a description, with those of its front end. Raises ValueError naming the key that is wrong.

    shorthands: keys of lists that the description reads, though it has no fields of their names.
    Values joined by `/` make a list. Values are not checked here.
    """
    own = description.model_fields
    front_end = _front_end_fields(own)
    known = {name: field for name, field in {**front_end, **own}.items() if name not in _NOT_WRITTEN}
    lists = {*shorthands, *(name for name, field in known.items() if get_origin(field.annotation) is tuple)}
    texts = {name for name, field in known.items() if str in (field.annotation, *get_args(field.annotation))}
    values: dict[str, object] = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is not key=value")
        if key in values:
            raise ValueError(f"{key!r} is given twice")
        names = sorted([*known, *shorthands])
        if key not in names:
            raise ValueError(f"{unknown_key(key, names)} ({own['modality'].default} has {', '.join(names)})")
        values[key] = _names(value, is_list=key in lists) if key in texts else _value(value, is_list=key in lists)
    inner = {key: value for key, value in values.items() if key in front_end}
    fields = {key: value for key, value in values.items() if key not in front_end}
    return fields | ({"front_end": inner} if inner else {})


def pairs_of(description: Strict, names: Collection[str] | None = None) -> str:
    """Return the fields of a description and its front end as `key=value,...`, where the short form can express them.

    names: which fields; without it those that differ from their defaults.
    """
    parts = [part for part in (description, getattr(description, "front_end", None)) if isinstance(part, Strict)]
    fields = [
        (name, getattr(part, name), field.default)
        for part in parts
        for name, field in type(part).model_fields.items()
        if name not in _NOT_WRITTEN
    ]
    chosen = [(name, value) for name, value, default in fields if (value != default if names is None else name in names)]
    return ",".join(f"{name}={_text(value)}" for name, value in chosen)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "/".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _front_end_fields(own: Mapping[str, FieldInfo]) -> Mapping[str, FieldInfo]:
    if "front_end" not in own:
        return {}
    front_end = own["front_end"].annotation
    assert isinstance(front_end, type)
    assert issubclass(front_end, Strict)
    return front_end.model_fields


def _value(text: str, *, is_list: bool) -> object:
    return [_scalar(part) for part in text.split("/")] if is_list or "/" in text else _scalar(text)


def _names(text: str, *, is_list: bool) -> object:
    return text.split("/") if is_list else text


def _scalar(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text

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
    Values joined by `/` make a list. `front_end=KIND` chooses among several front ends; without it the first is meant. Values
    are not checked here.
    """
    own = description.model_fields
    pairs = _pairs(text)
    front_ends = _front_ends(own)
    several = len(front_ends) > 1
    kind = pairs.pop("front_end", None) if several else None
    if kind is not None and kind not in front_ends:
        raise ValueError(f"front_end {kind!r} is not known; {own['modality'].default} has {', '.join(front_ends)}")
    front_end = front_ends.get(kind) if kind else next(iter(front_ends.values()), {})
    known = {name: field for name, field in {**(front_end or {}), **own}.items() if name not in _NOT_WRITTEN}
    names = sorted([*known, *shorthands, *(["front_end"] if several else [])])
    for key in pairs:
        if key not in names:
            raise ValueError(f"{unknown_key(key, names)} ({_noun(own, kind)} has {', '.join(names)})")
    values = {key: _value(value, known.get(key)) for key, value in pairs.items()}
    in_front_end = [key for key in values if key in known and key not in own]
    inner = {key: values[key] for key in in_front_end} | ({"kind": kind} if kind else {})
    fields = {key: value for key, value in values.items() if key not in in_front_end}
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


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is not key=value")
        if key in pairs:
            raise ValueError(f"{key!r} is given twice")
        pairs[key] = value
    return pairs


def _front_ends(own: Mapping[str, FieldInfo]) -> dict[str, Mapping[str, FieldInfo]]:
    """Return the fields of each front end that a description may have, by its kind."""
    if "front_end" not in own:
        return {}
    annotation = own["front_end"].annotation
    front_ends = [kind for kind in get_args(annotation) or (annotation,) if isinstance(kind, type) and issubclass(kind, Strict)]
    return {kind.model_fields["kind"].default: kind.model_fields for kind in front_ends}


def _noun(own: Mapping[str, FieldInfo], kind: str | None) -> str:
    modality = str(own["modality"].default)
    return f"{modality} with front_end={kind}" if kind else modality


def _value(text: str, field: FieldInfo | None) -> object:
    """Return the value of a key. field: None for a shorthand, which is a list of numbers."""
    annotation = field.annotation if field else tuple
    is_list = get_origin(annotation) is tuple or annotation is tuple
    if str in (annotation, *get_args(annotation)):
        return text.split("/") if is_list else text
    return [_scalar(part) for part in text.split("/")] if is_list or "/" in text else _scalar(text)


def _scalar(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text

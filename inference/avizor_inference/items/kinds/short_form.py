"""Read the short form of an input description: `key=value,...`, for what needs no lists but of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import get_args, get_origin

from pydantic.fields import FieldInfo

from avizor_inference.strict_json import Strict, unknown_key

_NOT_WRITTEN = {"modality", "kind", "front_end"}


def fields_of(text: str, description: type[Strict]) -> dict[str, object]:
    """Return the fields of a description, with those of its front end. Raises ValueError naming the key that is wrong.

    Numbers joined by `/` make a list. `front_end=KIND` chooses among several front ends; without it the first is meant. Values
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
    for key in pairs:
        if key not in known:
            names = sorted([*known, *(["front_end"] if several else [])])
            raise ValueError(f"{unknown_key(key, names)} ({_noun(own, kind)} has {', '.join(names)})")
    values = {key: _value(value, is_list=get_origin(known[key].annotation) is tuple) for key, value in pairs.items()}
    inner = {key: value for key, value in values.items() if key not in own} | ({"kind": kind} if kind else {})
    fields = {key: value for key, value in values.items() if key in own}
    return fields | ({"front_end": inner} if inner else {})


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


def _value(text: str, *, is_list: bool) -> object:
    return [_scalar(part) for part in text.split("/")] if is_list or "/" in text else _scalar(text)


def _scalar(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text

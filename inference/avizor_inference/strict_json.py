"""Read JSON strictly: immutable pydantic models, no unknown or repeated field, errors in one line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

# The path to a field, as pydantic gives it.
Place = tuple[int | str, ...]


class Strict(BaseModel):
    """Is immutable, with finite numbers and known fields only: a misspelt field is an error, and never silently a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __copy__(self) -> Self:
        """Return a copy without what cached properties hold: `model_copy` gives it other fields."""
        copy = super().__copy__()
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read a file's bytes. Raises ValueError, also for a key that is repeated."""
        value = cls.model_validate_json(text)
        refuse_duplicates(text)
        return value


def refuse_duplicates(text: bytes) -> None:
    """Raise ValueError for a key that is repeated in one JSON object: it is unclear which one counts."""
    json.loads(text, object_pairs_hook=_refuse_duplicates)


def validation_message(error: ValueError) -> str:
    """Return an error of pydantic in one line: `field.path: what is wrong` for the first five fields. Others: their text."""
    if not isinstance(error, ValidationError):
        return str(error)
    errors = error.errors()
    # An error of a whole that has wrong parts is left out, since it follows from them: a list without its wrong items is short.
    places = {item["loc"][:depth] for item in errors for depth in range(len(item["loc"]))}
    missing = {item["loc"] for item in errors if item["type"] == "missing"}
    intended = {item["loc"]: _intended(item["loc"], missing) for item in errors if item["type"] == "extra_forbidden"}
    reported = [item for item in errors if item["loc"] not in places and item["loc"] not in intended.values()]
    parts = [f"{_place(item)}: {_wrong(item, intended.get(item['loc']))}" for item in reported]
    return "; ".join(parts[:5]) + ("; ..." if len(parts) > 5 else "")


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return the message for an unknown key, with a suggestion if a known key is spelt similarly."""
    near = get_close_matches(key, known, n=1)
    return f"unknown key {key!r}" + (f", did you mean {near[0]!r}?" if near else "")


def _intended(place: Place, missing: Iterable[Place]) -> Place | None:
    """Return the missing field that an unknown one is probably a misspelling of; None if none is similar."""
    beside = [str(field[-1]) for field in missing if field[:-1] == place[:-1]]
    near = get_close_matches(str(place[-1]), beside, n=1)
    return (*place[:-1], near[0]) if near else None


def _wrong(item: ErrorDetails, intended: Place | None) -> str:
    """Return what is wrong, in our words where pydantic's describe its own internals."""
    kind = item["type"]
    if kind in ("missing", "union_tag_not_found"):
        return "is missing"
    if kind == "extra_forbidden":
        return unknown_key(str(item["loc"][-1]), [str(intended[-1])] if intended else [])
    if kind == "union_tag_invalid":
        return f"{item['ctx']['tag']!r} is none of {item['ctx']['expected_tags']}"
    return item["msg"].removeprefix("Value error, ")


def _place(item: ErrorDetails) -> str:
    """Return the path of the wrong field; in a union the field that names the member."""
    place = [*map(str, item["loc"])]
    if item["type"] == "extra_forbidden":  # the message names it
        place.pop()
    if item["type"].startswith("union_tag"):
        place.append(str(item["ctx"]["discriminator"]).strip("'"))
    return ".".join(place) or "file"


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"{key!r} is repeated in one object")
        seen.add(key)

"""JSON read strictly: immutable models of pydantic, no unknown or doubled field, errors in one line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

# Where an error of pydantic is.
Place = tuple[int | str, ...]


class Strict(BaseModel):
    """Immutable, numbers finite, and no field that is not known: a typing error in a manifest is an error and not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read a file's bytes. Raises ValueError, also for a key that stands twice."""
        value = cls.model_validate_json(text)
        refuse_duplicates(text)
        return value


def refuse_duplicates(text: bytes) -> None:
    """Raise ValueError for a key that stands twice in one object of JSON: which one was meant?"""
    json.loads(text, object_pairs_hook=_refuse_duplicates)


def validation_message(error: ValueError) -> str:
    """An error of pydantic in one line: `field.path: what is wrong`, for the first five fields; of another kind its text."""
    if not isinstance(error, ValidationError):
        return str(error)
    errors = error.errors()
    # What is said of a whole follows from what is said of its parts: a list without its wrong items is too short.
    places = {item["loc"][:depth] for item in errors for depth in range(len(item["loc"]))}
    missing = {item["loc"] for item in errors if item["type"] == "missing"}
    meant = {item["loc"]: _meant(item["loc"], missing) for item in errors if item["type"] == "extra_forbidden"}
    said = [item for item in errors if item["loc"] not in places and item["loc"] not in meant.values()]
    parts = [f"{_place(item)}: {_wrong(item, meant.get(item['loc']))}" for item in said]
    return "; ".join(parts[:5]) + ("; ..." if len(parts) > 5 else "")


def unknown_key(key: str, known: Iterable[str]) -> str:
    """That a key is not known, and which of the known ones is spelt nearly like it, if one is."""
    near = get_close_matches(key, known, n=1)
    return f"unknown key {key!r}" + (f", did you mean {near[0]!r}?" if near else "")


def _meant(place: Place, missing: Iterable[Place]) -> Place | None:
    """The missing field that an unknown one is a typing error of; None where there is none like it."""
    beside = [str(each[-1]) for each in missing if each[:-1] == place[:-1]]
    near = get_close_matches(str(place[-1]), beside, n=1)
    return (*place[:-1], near[0]) if near else None


def _wrong(item: ErrorDetails, meant: Place | None) -> str:
    """What is wrong, in our words where pydantic's own are of its inner life."""
    kind = item["type"]
    if kind in ("missing", "union_tag_not_found"):
        return "is missing"
    if kind == "extra_forbidden":
        return unknown_key(str(item["loc"][-1]), [str(meant[-1])] if meant else [])
    if kind == "union_tag_invalid":
        return f"{item['ctx']['tag']!r} is none of {item['ctx']['expected_tags']}"
    return item["msg"].removeprefix("Value error, ")


def _place(item: ErrorDetails) -> str:
    """Where an error is; for a union the field that tells its members apart."""
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
            raise ValueError(f"{key!r} stands twice in one object")
        seen.add(key)

"""JSON read strictly: immutable models of pydantic, no unknown or doubled field, errors in one line."""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails


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


def describe(error: ValueError) -> str:
    """An error of pydantic in one line: `field.path: what is wrong`, for the first five fields; of another kind its text."""
    if not isinstance(error, ValidationError):
        return str(error)
    errors = error.errors()
    # What is said of a whole follows from what is said of its parts: a list without its wrong items is too short.
    places = {item["loc"][:depth] for item in errors for depth in range(len(item["loc"]))}
    parts = [f"{_place(item)}: {item['msg']}" for item in errors if item["loc"] not in places]
    return "; ".join(parts[:5]) + ("; ..." if len(parts) > 5 else "")


def _place(item: ErrorDetails) -> str:
    """Where an error is; for a union the field that tells its members apart."""
    place = [*map(str, item["loc"])]
    if item["type"].startswith("union_tag"):
        place.append(str(item["ctx"]["discriminator"]).strip("'"))
    return ".".join(place) or "file"


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"{key!r} stands twice in one object")
        seen.add(key)

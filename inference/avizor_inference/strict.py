"""JSON read strictly: immutable models of pydantic, no unknown or doubled field, errors in one line."""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError


class Strict(BaseModel):
    """Immutable, numbers finite, and no field that is not known: a typing error in a manifest is an error and not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read a file's bytes. Raises ValueError, also for a key that stands twice."""
        value = cls.model_validate_json(text)
        json.loads(text, object_pairs_hook=_refuse_duplicates)
        return value


def describe(error: ValueError) -> str:
    """An error of pydantic in one line: `field.path: what is wrong`, for the first five fields; of another kind its text."""
    if not isinstance(error, ValidationError):
        return str(error)
    parts = [f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()]
    return "; ".join(parts[:5]) + ("; ..." if len(parts) > 5 else "")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"{key!r} stands twice in one object")
        seen.add(key)

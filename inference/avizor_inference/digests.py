"""Digests: sha256 of files and of JSON in one canonical form."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def digest_of(model: BaseModel) -> str:
    """sha256 of a model's canonical JSON (sorted keys, no white space)."""
    return digest_of_json(model.model_dump(mode="json"))


def digest_of_json(value: Any) -> str:
    """sha256 of a JSON value with sorted keys and no white space."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """sha256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Compute digests: the sha256 of files, and of JSON in one canonical form."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from avizor_inference.regular_files import open_regular


def digest_of(model: BaseModel) -> str:
    """Return the sha256, in hexadecimal, of a model's canonical JSON (sorted keys, no white space)."""
    return digest_of_json(model.model_dump(mode="json"))


def digest_of_json(value: Any) -> str:
    """Return the sha256, in hexadecimal, of a JSON value with sorted keys and no white space."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the sha256, in hexadecimal, of a file's bytes, which are read in blocks. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Provide the fields of a valid manifest, for tests that change some of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from avizor_inference.repository.manifest import Manifest

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def manifest_fields(**changes: Any) -> dict[str, Any]:
    """Return what must be in a manifest (a tensor model in fp32), as JSON holds it, with these fields changed or added."""
    output = {"name": "probabilities", "dtype": "float32", "item_shape": [2]}
    parity = {"outputs": {}, "absolute_tolerance": 1e-5, "relative_tolerance": 1e-4, "samples": ["zeros"]}
    return {
        "name": "m",
        "version": 1,
        "task": "classify",
        "input": {"modality": "tensor", "item_shape": [3]},
        "outputs": [output],
        "model_sha256": "0" * 64,
        "model_bytes": 100,
        "opset": 18,
        "ir_version": 10,
        "parity": parity,
        "provenance": {"factory": "nets:net", "parameters": 8, "created": CREATED.isoformat(), "producers": {"torch": "2.13"}},
    } | changes


def manifest(**changes: Any) -> Manifest:
    """Return the manifest of these fields."""
    return Manifest.from_json(json.dumps(manifest_fields(**changes)).encode())


# A report on another precision, as JSON holds it.
VARIANT: dict[str, Any] = {
    "metric": "accuracy",
    "before": 0.9,
    "after": 0.89,
    "drop": 0.01,
    "max_drop": 0.02,
    "items": 100,
    "provider": "CPUExecutionProvider",
    "fp32_sha256": "1" * 64,
    "fp32_bytes": 400,
    "outputs": {},
    "speed": [],
    "settings": {},
}

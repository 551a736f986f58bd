"""Fields that describe columns of a table, and what is said of those that are not valid."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from avizor_inference.strict_json import Strict, validation_message

NUMBER = {"kind": "number", "name": "amount"}
CATEGORY = {"kind": "category", "name": "country", "categories": ["ES", "FR"]}


def refusal(kind: type[Strict], fields: dict[str, Any]) -> str:
    """Return why the fields do not describe something of a kind."""
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(fields)
    return validation_message(caught.value)

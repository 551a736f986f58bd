"""Read metrics for the manifest and the model card from a user's JSON files: `--evaluation` and `--training`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, TypeVar

from annotated_types import MinLen
from pydantic import ConfigDict, FiniteFloat, JsonValue, TypeAdapter

from avizor_inference.errors import ExportError
from avizor_inference.strict_json import validation_message

Metrics = TypeVar("Metrics")

_FINITE = ConfigDict(allow_inf_nan=False)
_EVALUATION = TypeAdapter(dict[str, JsonValue], config=_FINITE)
_TRAINING = TypeAdapter(dict[str, Annotated[list[FiniteFloat], MinLen(1)]])


def read_evaluation(path: Path) -> dict[str, JsonValue]:
    """Read metrics measured on held-out data, by name. Raises ExportError unless they are a JSON object of finite values."""
    return _read(path, _EVALUATION, "a JSON object of metrics")


def read_training(path: Path) -> dict[str, list[float]]:
    """Read numbers by epoch, such as the loss, by name. Raises ExportError unless each is a list of finite numbers."""
    return _read(path, _TRAINING, "a JSON object of lists of numbers, one for each epoch")


def _read(path: Path, adapter: TypeAdapter[Metrics], what: str) -> Metrics:
    try:
        # Not by pydantic, which lets NaN pass where any JSON value may stand.
        return adapter.validate_python(json.loads(path.read_bytes()))
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror})") from error
    except RecursionError as error:
        raise ExportError(f"{path} has to hold {what}: it is nested too deep") from error
    except ValueError as error:
        raise ExportError(f"{path} has to hold {what}: {validation_message(error)}") from error

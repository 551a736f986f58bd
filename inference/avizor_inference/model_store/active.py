"""Compare which calibrations are active here and in a store."""

from __future__ import annotations

from avizor_inference.errors import RepositoryError
from avizor_inference.items.object_path import ObjectPath, Version
from avizor_inference.repository.calibration_store import ACTIVE_FILE, ActiveCalibrations
from avizor_inference.strict_json import validation_message


def active_at(folder: ObjectPath) -> tuple[ActiveCalibrations, Version | None]:
    """Return which calibrations are active in a folder of a store, and which file says so; None if there is none.

    Raises OSError, RepositoryError.
    """
    path = folder / ACTIVE_FILE
    try:
        content, state = path.read_version()
    except FileNotFoundError:
        return ActiveCalibrations(), None
    try:
        return ActiveCalibrations.of_bytes(content), state
    except ValueError as error:
        raise RepositoryError(
            f"{path} does not name the active calibrations: {validation_message(error)}; remove it, and push again"
        ) from error


def with_active_of(there: ActiveCalibrations, here: ActiveCalibrations) -> ActiveCalibrations:
    """Return `there` with those active that are active here. What is known here alone is not added."""
    histories = dict(there.histories)
    for key, history in here.histories.items():
        if key not in histories:
            histories[key] = history
        elif histories[key][-1] != history[-1]:
            histories[key] = (*histories[key], history[-1])
    return there.model_copy(update={"histories": histories})

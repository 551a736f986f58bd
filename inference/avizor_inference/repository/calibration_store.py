"""Store the calibrations of a version, and which of them are active: `calibrations/<id>.json` and `calibrations/active.json`.

Calibrations are the only files that are added to a published version. Each is written once and never changed. active.json
names, for each engine class and precision, the calibrations that were activated, the active one last. It is replaced by one
rename, so that a reader sees the old choice or the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from avizor_inference.durable_files import make_folder, write_text
from avizor_inference.error_text import reason, remedy
from avizor_inference.errors import CalibrationError, VersionRefused
from avizor_inference.regular_files import read_regular
from avizor_inference.repository.calibration import ID_PATTERN, Calibration, EngineKind
from avizor_inference.strict_json import Strict, validation_message
from avizor_inference.waiting_lock import waiting_lock

CALIBRATIONS_FOLDER = "calibrations"
ACTIVE_FILE = "active.json"
_LOCK_FILE = ".lock"

_Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
_History = Annotated[tuple[_Id, ...], Field(min_length=1)]


class ActiveCalibrations(Strict):
    """Holds active.json. histories: by `engine class/precision`, the ids that were activated, the active one last."""

    schema_version: Literal[1] = 1
    histories: dict[str, _History] = Field(default_factory=dict)

    @classmethod
    def of_bytes(cls, content: bytes) -> ActiveCalibrations:
        """Read the content of the file. Raises ValueError, also for keys that are not an engine class and a precision."""
        active = cls.from_json(content)
        active.ids()
        return active

    def ids(self) -> Mapping[EngineKind, str]:
        """Return the id of the active calibration of each engine class and precision that has one."""
        return {EngineKind.from_key(key): history[-1] for key, history in self.histories.items()}

    def to_json(self) -> str:
        """Return the text of the file."""
        return self.model_dump_json(indent=1) + "\n"


def read_active(folder: Path) -> ActiveCalibrations:
    """Read which calibrations of a version's folder are active; none without the file. Raises VersionRefused."""
    path = folder / CALIBRATIONS_FOLDER / ACTIVE_FILE
    try:
        return ActiveCalibrations.of_bytes(read_regular(path))
    except FileNotFoundError:
        return ActiveCalibrations()
    except OSError as error:
        raise VersionRefused(f"{path}: cannot be read ({reason(error)}); {remedy(error, 'fix its permissions')}") from error
    except ValueError as error:
        raise VersionRefused(
            f"{path} does not name the active calibrations: {validation_message(error)}; restore it, or remove it and activate "
            "a calibration with `avizor calibrate --activate-id`"
        ) from error


def calibration_path(folder: Path, identifier: str) -> Path:
    """Return the path of a calibration of a version's folder."""
    return folder / CALIBRATIONS_FOLDER / f"{identifier}.json"


def store(folder: Path, calibration: Calibration) -> Path:
    """Write a calibration into a version's folder, where it is not active yet; return its path. Raises OSError."""
    path = calibration_path(folder, calibration.id)
    make_folder(path.parent)
    write_text(path, calibration.model_dump_json(indent=1) + "\n")
    return path


def activate(folder: Path, calibration: Calibration) -> None:
    """Make a stored calibration the active one of its engine class and precision. Raises OSError, VersionRefused."""
    with _locked(folder):
        active = read_active(folder)
        history = active.histories.get(calibration.kind.key, ())
        if history[-1:] != (calibration.id,):
            _write(folder, active, calibration.kind, (*history, calibration.id))


def roll_back(folder: Path, kind: EngineKind) -> str:
    """Make the calibration that was active before the active one again; return its id.

    Raises CalibrationError if none was active before, or its file is gone, OSError, VersionRefused.
    """
    with _locked(folder):
        active = read_active(folder)
        history = active.histories.get(kind.key, ())
        if len(history) < 2:
            calibrated = ", ".join(f"{other} ({len(ids)})" for other, ids in _by_kind(active)) or "none"
            raise CalibrationError(
                f"no earlier calibration for {kind} to go back to; activated so far: {calibrated}. Another engine is named by "
                "--engine and --device"
            )
        if not (path := calibration_path(folder, history[-2])).is_file():
            raise CalibrationError(f"{path} was active before, and is gone; restore it, or activate another with --activate-id")
        _write(folder, active, kind, history[:-1])
        return history[-2]


def _by_kind(active: ActiveCalibrations) -> Iterator[tuple[EngineKind, tuple[str, ...]]]:
    yield from ((EngineKind.from_key(key), history) for key, history in active.histories.items())


def _write(folder: Path, active: ActiveCalibrations, kind: EngineKind, history: tuple[str, ...]) -> None:
    changed = active.model_copy(update={"histories": active.histories | {kind.key: history}})
    write_text(folder / CALIBRATIONS_FOLDER / ACTIVE_FILE, changed.to_json())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock on active.json during the block, so that no other process changes it between reading and writing."""
    calibrations = folder / CALIBRATIONS_FOLDER
    make_folder(calibrations)
    with waiting_lock(calibrations / _LOCK_FILE):
        yield

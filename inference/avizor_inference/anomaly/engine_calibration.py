"""Choose the calibration for the scores of an engine, and refuse one that was made by an engine with other scores."""

from __future__ import annotations

import shlex

from avizor_inference.anomaly.calibrate import score_rows
from avizor_inference.anomaly.score_agreement import agreement
from avizor_inference.engines.base import Engine, ModelSpec, engine_kind
from avizor_inference.errors import CalibrationError
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.models import ModelVersion

# An engine that does not answer 16 items in this time counts as away.
PROBE_TIMEOUT_S = 60.0


def find_calibration(engine: Engine, version: ModelVersion, engine_options: str) -> Calibration | None:
    """Return the calibration that the engine's scores may be compared with; None if the version has no active one.

    It is the active calibration for the engine's class and precision; without one, that for another class in the same
    precision. In either case the probe items of the version have to agree. engine_options: how the engine is named on a command
    line (open_engine.engine_options). Raises CalibrationError with the command that fixes it if none may be used.
    """
    active = version.calibrations()
    if not active:
        return None
    spec = engine.spec(version.name, version.version)
    kind = engine_kind(spec, version)
    own = [calibration for calibration in active if calibration.kind == kind]
    reasons = []
    for calibration in own or active:
        reason = _reason_against(engine, spec, version, calibration)
        if reason is None:
            return calibration
        reasons.append(reason)
    raise _refusal(version, str(kind), reasons, engine_options)


def check_calibration(engine: Engine, version: ModelVersion, calibration: Calibration, engine_options: str) -> None:
    """Raise CalibrationError unless the engine's scores may be compared with this calibration, which may be inactive now."""
    spec = engine.spec(version.name, version.version)
    if reason := _reason_against(engine, spec, version, calibration):
        raise _refusal(version, str(engine_kind(spec, version)), [reason], engine_options)


def calibrate_command(version: ModelVersion, engine_options: str) -> str:
    """Return the command that calibrates a version through an engine."""
    models = shlex.quote(str(version.folder.parent.parent))
    number = version.version
    return f"avizor calibrate {version.name} --data DIR --models {models} --version {number} {engine_options} --activate"


def _reason_against(engine: Engine, spec: ModelSpec, version: ModelVersion, calibration: Calibration) -> str | None:
    """Return why the engine may not use the calibration, to follow its id; None if it may."""
    kind, name = engine_kind(spec, version), f"calibration {calibration.id} is for {calibration.kind}"
    if calibration.precision != kind.precision:
        return name
    probe = version.probe()
    if probe is None or len(calibration.probe_scores) != len(probe.items):
        return None if calibration.kind == kind else f"{name}, and there are no probe items to compare the engines with"
    compared = agreement(calibration, score_rows(engine, spec, probe.items, PROBE_TIMEOUT_S))
    if compared.agrees:
        return None
    return (
        f"{name}, and roots of the scores of the probe items differ from those by up to {compared.difference:.2g} of their "
        f"value, where {compared.allowed:.2g} is allowed"
    )


def _refusal(version: ModelVersion, kind: str, reasons: list[str], engine_options: str) -> CalibrationError:
    return CalibrationError(
        f"model {version.name!r} version {version.version} runs on {kind} without a calibration for it: {'; '.join(reasons)}. "
        f"Calibrate it there with normal items: {calibrate_command(version, engine_options)}"
    )

"""Choose the calibration for the scores of an engine, and refuse one that was made by an engine with other scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from avizor_inference.anomaly.calibrate import score_rows
from avizor_inference.anomaly.p_values import TIE
from avizor_inference.anomaly.score_agreement import agreement
from avizor_inference.engines.base import Engine, ModelSpec, engine_kind
from avizor_inference.errors import CalibrationError
from avizor_inference.items.input_spec import has_channels
from avizor_inference.items.windows import ChannelMode
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.models import ModelVersion

# An engine that does not answer 16 items in this time counts as away.
PROBE_TIMEOUT_S = 60.0


class Comparable(NamedTuple):
    """Holds a calibration that the scores of an engine may be compared with, and the relative difference that is a tie."""

    calibration: Calibration
    tie: float


def find_calibration(
    engine: Engine, version: ModelVersion, engine_options: str, active: Sequence[Calibration] | None = None
) -> Comparable | None:
    """Return the calibration that the engine's scores may be compared with; None if the version has no active one.

    It is the active calibration for the engine's class and precision; without one, that for another class in the same
    precision. In either case the probe items of the version have to agree. engine_options: how the engine is named on a command
    line (open_engine.engine_options). active: the version's active calibrations, where they have been read. Raises
    CalibrationError with the command that fixes it if none may be used.
    """
    active = version.calibrations() if active is None else active
    if not active:
        return None
    spec = engine.spec(version.name, version.version)
    kind = engine_kind(spec, version)
    own = [calibration for calibration in active if calibration.kind == kind]
    reasons = []
    for calibration in own or active:
        tie = _tie(engine, spec, version, calibration)
        if isinstance(tie, float):
            return Comparable(calibration, tie)
        reasons.append(tie)
    raise _refusal(version, str(kind), reasons, engine_options)


def check_same_channels(version: ModelVersion, calibration: Calibration, channels: ChannelMode, engine_options: str) -> None:
    """Raise CalibrationError unless the calibration has scores of those channels of a sound whose scores it is for.

    engine_options: see `find_calibration`.
    """
    if has_channels(version.manifest.input) and calibration.channels != channels:
        raise CalibrationError(
            f"calibration {calibration.id} of {version.name!r} was made with --channels {calibration.channels}, and its scores "
            f"are not those of --channels {channels}; use --channels {calibration.channels}, or calibrate so: "
            f"{version.calibrate_command(engine_options)} --channels {channels}"
        )


def check_calibration(engine: Engine, version: ModelVersion, chosen: Comparable, engine_options: str) -> None:
    """Raise CalibrationError unless the engine's scores may be compared with a calibration that was chosen earlier."""
    spec = engine.spec(version.name, version.version)
    tie = _tie(engine, spec, version, chosen.calibration)
    if isinstance(tie, float) and tie > chosen.tie:
        tie = f"the engine's scores agreed with calibration {chosen.calibration.id} when it was chosen, and no longer do"
    if not isinstance(tie, float):
        raise _refusal(version, str(engine_kind(spec, version)), [tie], engine_options)


def tie_with(engine: Engine, version: ModelVersion, calibration: Calibration) -> float | str:
    """Return which relative difference to a calibration's scores is a tie, or why the engine may not use the calibration."""
    return _tie(engine, engine.spec(version.name, version.version), version, calibration)


def _tie(engine: Engine, spec: ModelSpec, version: ModelVersion, calibration: Calibration) -> float | str:
    """Return what `tie_with` does."""
    kind, name = engine_kind(spec, version), f"calibration {calibration.id} is for {calibration.kind}"
    if calibration.precision != kind.precision:
        return name
    probe = version.probe()
    if probe is None or len(calibration.probe_scores) != len(probe.items):
        return TIE if calibration.kind == kind else f"{name}, and there are no probe items to compare the engines with"
    compared = agreement(calibration, score_rows(engine, spec, probe.items, PROBE_TIMEOUT_S))
    if compared.agrees:
        return compared.tie
    return (
        f"{name}, and roots of the scores of the probe items differ from those by up to {compared.difference:.2g} of their "
        f"value, where {compared.allowed:.2g} is allowed"
    )


def _refusal(version: ModelVersion, kind: str, reasons: list[str], engine_options: str) -> CalibrationError:
    return CalibrationError(
        f"model {version.name!r} version {version.version} runs on {kind} without a calibration for it: {'; '.join(reasons)}. "
        f"Calibrate it there with normal items: {version.calibrate_command(engine_options)}"
    )

"""Say how a gateway starts whose alpha some of its models do not support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from avizor_inference.anomaly.p_values import supported_alpha
from avizor_inference.errors import CalibrationError
from avizor_inference.repository.calibration import Calibration


def check_all(calibrations: Mapping[str, Sequence[Calibration]], refusals: Mapping[str, str], confidence: float | None) -> None:
    """Raise CalibrationError with what is wrong, and what to do, if a model refuses the gateway's alpha.

    calibrations: the active ones, by the model's name. refusals: why a model does not support alpha, by its name.
    """
    if not refusals:
        return
    names = ", ".join(f"{name!r}" for name in refusals)
    folders = "its folder" if len(refusals) == 1 else "their folders"
    rollbacks = " and ".join(f"`avizor models rollback {name}`" for name in refusals)
    raise CalibrationError(
        "nothing could be flagged at the gateway's own alpha, and calls that give none are refused: "
        f"{'; '.join(refusals.values())}. A gateway has one alpha for all models of its repository. Do one of these: "
        f"{_other_level(calibrations, confidence)}; or serve the version before, if it supports alpha, with {rollbacks} (and "
        f"the --models of this command); or move {folders} ({names}) out of the repository, and the others are served"
    )


def _other_level(calibrations: Mapping[str, Sequence[Calibration]], confidence: float | None) -> str:
    """Return how to start with an alpha that all models support."""
    if confidence is not None and any(each.folds for active in calibrations.values() for each in active):
        return "start without a confidence"
    used = [max(active, key=Calibration.most_of_a_kind) for active in calibrations.values() if active]
    smallest = min(used, key=Calibration.most_of_a_kind)
    alpha = supported_alpha(smallest.most_of_a_kind(), confidence)
    by = f", {smallest.model!r} by the items of all its sources together" if len(smallest.source_names) > 1 else ""
    return f"start with --alpha {alpha:g} or more, which all models here support{by}"

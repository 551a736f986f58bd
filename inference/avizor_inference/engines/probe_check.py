"""Check that an engine computes a version as export did, with the probe items of the version, before it answers callers.

A wrong file, weights that do not belong to the manifest, or a provider that computes something else differ by far more than
rounding does. So what is allowed is wide: a share of the largest value of an output. Whether scores are close enough for a
calibration is another question, and anomaly/engine_calibration.py asks it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, check_input, engine_kind
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.errors import VersionRefused
from avizor_inference.repository.calibration import RunPrecision
from avizor_inference.repository.models import ModelVersion

# An engine that does not answer a batch of probe items in this time counts as away.
PROBE_TIMEOUT_S = 60.0

# Share of an output's largest value, by the precision in which it is computed. Squares differ by twice as much.
_ALLOWED: dict[RunPrecision, float] = {"fp32": 0.02, "bf16": 0.05, "fp16": 0.2, "int8": 0.2}
# Kinds of dtype that can be compared.
_NUMBERS = "fiu"
# Decision 94.
_ADVICE: dict[RunPrecision, str] = {
    "bf16": "use an engine in another precision",
    "int8": "on x86 without VNNI use --engine ort, as others cut off sums there; else export it again, or correct the engine",
}


def check_probe(engine: Engine, version: ModelVersion, served_as: str = "") -> None:
    """Raise VersionRefused if the engine's outputs for the version's probe items are not those of export.

    A version without probe items passes. served_as: the name that the engine has the version under, if not its own; then its
    newest version is asked. Raises what Engine.infer raises, too.
    """
    probe = version.probe()
    if probe is None:
        return
    spec = engine.spec(served_as) if served_as else engine.spec(version.name, version.version)
    check_input(spec, version)
    (input_name,) = spec.inputs
    inputs = {input_name: np.ascontiguousarray(probe.items)}
    request = InferRequest(spec.name, inputs, list(probe.outputs), spec.version, PROBE_TIMEOUT_S)
    check_answers(version, infer_rows(engine, request, in_flight=1), engine_kind(spec, version).precision)


def check_answers(version: ModelVersion, answers: Mapping[str, Array], precision: RunPrecision) -> None:
    """Raise VersionRefused unless these are the outputs for the version's probe items, all of them.

    answers: arrays [n, *item_shape] by name. precision: in which they were computed, which says how much they may differ.
    """
    probe = version.probe()
    for name, expected in (probe.outputs if probe else {}).items():
        difference, allowed = _difference(expected, answers[name]), _ALLOWED[precision]
        if not difference <= allowed:
            raise VersionRefused(
                f"{version.name!r} version {version.version} is not computed as at export: output {name} of its probe items "
                f"differs by {difference:.2g} of its largest value, where {allowed:g} is allowed in {precision}; "
                + _ADVICE.get(precision, "export it again, or correct the engine")
            )


def _difference(expected: Array, actual: Array) -> float:
    """Return the largest difference as a share of the largest value; NaN or infinity if an answer is not finite."""
    if actual.shape != expected.shape or actual.dtype.kind not in _NUMBERS:
        return float("inf")
    largest = float(np.abs(expected).max(initial=0.0))
    difference = float(np.abs(actual.astype(np.float64) - expected).max(initial=0.0))
    return difference / largest if largest else difference

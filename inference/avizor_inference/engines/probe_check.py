"""Check that an engine computes a version as export did, with the probe items of the version, before it answers callers.

A wrong file, weights that do not belong to the manifest, or a provider that computes something else differ by far more than
rounding does. So what is allowed is wide: a share of the largest value of an output. Whether scores are close enough for a
calibration is another question, and anomaly/engine_calibration.py asks it.
"""

from __future__ import annotations

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, engine_kind
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.errors import VersionRefused
from avizor_inference.repository.models import ModelVersion

# An engine that does not answer a batch of probe items in this time counts as away.
PROBE_TIMEOUT_S = 60.0

# Share of an output's largest value: in fp32, and where numbers are rounded to fewer bits. Squares differ by twice as much.
_ALLOWED, _ALLOWED_ROUNDED = 0.02, 0.2


def check_probe(engine: Engine, version: ModelVersion, served_as: str = "") -> None:
    """Raise VersionRefused if the engine's outputs for the version's probe items are not those of export.

    A version without probe items passes. served_as: the name that the engine has the version under, if not its own; then its
    newest version is asked. Raises what Engine.infer raises, too.
    """
    probe = version.probe()
    if probe is None:
        return
    spec = engine.spec(served_as) if served_as else engine.spec(version.name, version.version)
    allowed = _ALLOWED if engine_kind(spec, version).precision == "fp32" else _ALLOWED_ROUNDED
    (input_name,) = spec.inputs
    inputs = {input_name: np.ascontiguousarray(probe.items)}
    request = InferRequest(spec.name, inputs, list(probe.outputs), spec.version, PROBE_TIMEOUT_S)
    answers = infer_rows(engine, request, in_flight=1)
    for name, expected in probe.outputs.items():
        difference = _difference(expected, answers[name])
        if not difference <= allowed:
            raise VersionRefused(
                f"{version.name!r} version {version.version} is not computed as at export: output {name} of its probe items "
                f"differs by {difference:.2g} of its largest value, where {allowed:g} is allowed; export it again, or correct "
                "the engine"
            )


def _difference(expected: Array, actual: Array) -> float:
    """Return the largest difference as a share of the largest value; NaN or infinity if an answer is not finite."""
    if actual.shape != expected.shape:
        return float("inf")
    largest = float(np.abs(expected).max(initial=0.0))
    difference = float(np.abs(actual.astype(np.float64) - expected).max(initial=0.0))
    return difference / largest if largest else difference

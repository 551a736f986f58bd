"""Build calibrations for tests that do not need a particular model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from avizor_inference.repository.calibration import BySource, Calibration

# Scores of the windows of each recording of a source.
Recordings = Sequence[Sequence[float]]


def calibration(sources: Mapping[str, Recordings], short: Mapping[str, Recordings] | None = None) -> Calibration:
    """Return a calibration that holds these scores; sources without recordings are left out."""
    return Calibration(
        model="m",
        version=1,
        model_sha256="0",
        engine_class="onnxruntime-cpu",
        precision="fp32",
        created=datetime.now(UTC),
        sources=_by_source(sources),
        short=_by_source(short or {}),
    )


def _by_source(sources: Mapping[str, Recordings]) -> BySource:
    return {source: tuple(tuple(map(float, windows)) for windows in each) for source, each in sources.items() if each}

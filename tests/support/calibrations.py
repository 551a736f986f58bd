"""Build calibrations for tests that do not need a particular model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from avizor_inference.repository.calibration import BySource, Calibration
from avizor_inference.repository.calibration_store import activate, store
from avizor_inference.repository.models import ModelRepository

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


def recalibrated(models: Path, name: str, *, recordings: int | None = None) -> str:
    """Store and activate the calibration of a model once more, as of now; return its id.

    recordings: so many of each source; None for all.
    """
    version = ModelRepository(models).version(name)
    (before,) = version.calibrations()
    sources = {source: each[:recordings] for source, each in before.sources.items()}
    again = before.model_copy(update={"created": datetime.now(UTC), "sources": sources})
    again = Calibration.model_validate(again.model_dump())  # without the id that the first one has cached
    store(version.folder, again)
    activate(version.folder, again)
    return again.id

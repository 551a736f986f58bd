"""Calibrations of no particular model."""

from __future__ import annotations

from datetime import UTC, datetime

from avizor_inference.repository.calibration import BySource, Calibration


def calibration(sources: BySource, short: BySource | None = None) -> Calibration:
    """Return a calibration that holds these scores."""
    return Calibration(
        model="m",
        version=1,
        model_sha256="0",
        provider="CPUExecutionProvider",
        created=datetime.now(UTC),
        sources=sources,
        short=short or {},
    )

"""Hold scores of normal recordings that a model was not trained on: new ones are compared with them (anomaly/p_values.py).

The file contains the score of every window, by source. Recordings that are shorter than the model's window, and therefore are
filled up with zeros, are in a separate list.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from avizor_inference.digests import digest_of
from avizor_inference.error_text import reason
from avizor_inference.errors import VersionRefused
from avizor_inference.items.source_rule import DEFAULT_SOURCE
from avizor_inference.repository.manifest import Manifest, Precision
from avizor_inference.strict_json import Strict, validation_message

CALIBRATION_FILE = "calibration.json"
CALIBRATIONS_FOLDER = "calibrations"

# All sources together.
POOLED = "*"

# Scores of one recording, for all windows of all channels: mean squared error, >= 0.
Scores = tuple[float, ...]
BySource = dict[str, tuple[Scores, ...]]


class Calibration(Strict):
    """Holds `calibration.json`: scores of normal recordings by source, from one version of a model on one kind of provider.

    sources: recordings of at least one window, and images, rows and tensors. short: recordings shorter than a window.
    """

    schema_version: int = Field(default=2)
    model: str
    version: int
    model_sha256: str
    provider: str = Field(description="ONNX Runtime execution provider that computed the scores")
    precision: Precision = "fp32"
    created: datetime
    sources: BySource
    short: BySource = Field(default_factory=dict)

    @field_validator("schema_version")
    @classmethod
    def _is_of_this_kind(cls, schema_version: int) -> int:
        if schema_version != 2:
            raise ValueError(
                f"schema_version is {schema_version}, and this release reads 2: in version 1 each channel counted as a "
                "recording, and short recordings were not separate; export the model again with --calibrate"
            )
        return schema_version

    @field_validator("sources", "short")
    @classmethod
    def _scores_are_there(cls, sources: BySource) -> BySource:
        for source, recordings in sources.items():
            if not recordings or not all(recordings):
                raise ValueError(f"source {source!r} has no recordings, or one without windows")
            if any(score < 0 for scores in recordings for score in scores):
                raise ValueError(f"source {source!r} has a score below 0")
        return sources

    @model_validator(mode="after")
    def _holds_recordings(self) -> Calibration:
        if not self.sources and not self.short:
            raise ValueError("it holds no recordings")
        return self

    @classmethod
    def read(cls, path: Path, manifest: Manifest) -> Calibration:
        """Read a calibration and compare it with the manifest beside it. Raises VersionRefused if they differ."""
        try:
            calibration = cls.from_json(path.read_bytes())
        except (OSError, ValueError) as error:
            why = validation_message(error) if isinstance(error, ValueError) else reason(error)
            raise VersionRefused(f"{path} is not a calibration: {why}; export the model again with --calibrate") from error
        if calibration.model_sha256 != manifest.model_sha256:
            raise VersionRefused(
                f"{path} was made with another model.onnx (sha256 {calibration.model_sha256[:12]}..., here "
                f"{manifest.model_sha256[:12]}...); export the model again with --calibrate"
            )
        if calibration.precision != manifest.precision:
            raise VersionRefused(
                f"{path} holds scores of a model in {calibration.precision}, and this one is in {manifest.precision}; "
                "export the model again with --calibrate"
            )
        return calibration

    @cached_property
    def id(self) -> str:
        """Return the name of the calibration: the first 12 hex digits of its digest."""
        return digest_of(self)[:12]

    @property
    def source_names(self) -> list[str]:
        """Return the sources that have recordings, sorted."""
        return sorted({*self.sources, *self.short})

    @property
    def tells_sources_apart(self) -> bool:
        """Return whether recordings have sources. Those of a flat folder have the source `default`, used for any source."""
        return self.source_names != [DEFAULT_SOURCE]

    def of_kind(self, is_short: bool) -> BySource:
        """Return the recordings that are shorter than a window, or those that are not."""
        return self.short if is_short else self.sources

    def count(self, source: str = POOLED, *, is_short: bool) -> int:
        """Return the number of recordings of one kind, from one source or from all sources together."""
        by_source = self.of_kind(is_short)
        return sum(map(len, by_source.values())) if source == POOLED else len(by_source.get(source, ()))

    def recordings(self, source: str = POOLED) -> int:
        """Return the number of recordings of both kinds, from one source or from all sources together."""
        return self.count(source, is_short=False) + self.count(source, is_short=True)

"""Take what a person asks of a batch job, and make settings of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from avizor_inference.engines.embedded import Device
from avizor_inference.engines.open_engine import EMBEDDED
from avizor_inference.errors import SettingsError
from avizor_inference.items.file_access import name_of
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.repository.models import ModelRepository
from avizor_inference.strict_json import validation_message
from avizor_pipeline.models import choose
from avizor_pipeline.settings import ROWS_FORMAT, JobSettings


@dataclass(frozen=True)
class JobRequest:
    """Holds a batch job as it is asked for.

    datasets: folders or audio files. models: names in the repository. engine: `ort` or triton://HOST:PORT. alpha: promised
    share of false alarms, 0 to 1. confidence: that each calibration keeps alpha, 0 to 1; None: on average over calibrations.
    source_pattern: regular expression whose first group in a file's path is its source; without one it is the first folder of
    the path. batch_size: windows in one run; None takes what each model's config says.
    """

    datasets: tuple[str, ...]
    models: tuple[str, ...]
    repository: Path = Path("models")
    engine: str = EMBEDDED
    alpha: float = 0.01
    confidence: float | None = None
    source_pattern: str = ""
    batch_size: int | None = None
    device: Device = "config"

    def to_settings(self) -> JobSettings:
        """Pin each model to its newest version and calibration. Raises SettingsError, RepositoryError."""
        if len(set(self.models)) != len(self.models):
            raise SettingsError("a model is named twice; name each once")
        if not 0 < self.alpha < 1:
            raise SettingsError(f"--alpha {self.alpha:g} is not between 0 and 1; it is the share of false alarms, e.g. 0.01")
        if self.confidence is not None and not 0 < self.confidence < 1:
            raise SettingsError(
                f"--confidence {self.confidence:g} is not between 0 and 1; it is the probability that a calibration keeps "
                "alpha, e.g. 0.95"
            )
        SourceRule(self.source_pattern)
        repository = ModelRepository(self.repository)
        try:
            return JobSettings(
                rows_format=ROWS_FORMAT,
                roots=tuple(map(name_of, self.datasets)),
                repository=str(self.repository),
                models=tuple(choose(repository, name, self.batch_size) for name in self.models),
                alpha=self.alpha,
                confidence=self.confidence,
                source_pattern=self.source_pattern,
                engine=self.engine,
                device=self.device,
            )
        except ValidationError as error:
            raise SettingsError(validation_message(error)) from error

"""Take what a person asks of a batch job, and make settings of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from avizor_inference.anomaly.confidence import level_problem
from avizor_inference.anomaly.engine_calibration import find_calibration
from avizor_inference.engines.embedded import Device
from avizor_inference.engines.open_engine import EMBEDDED, engine_options, open_engine
from avizor_inference.errors import SettingsError
from avizor_inference.items.file_access import name_of
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.repository.models import ModelRepository
from avizor_inference.strict_json import validation_message
from avizor_pipeline.models import choose, contents_for, row_columns_for
from avizor_pipeline.settings import ROWS_FORMAT, ChosenModel, JobSettings


@dataclass(frozen=True)
class JobRequest:
    """Holds a batch job as it is asked for.

    datasets: folders, patterns, lists or files. models: names in the repository. engine: `ort` or triton://HOST:PORT. alpha:
    promised share of false alarms, 0 to 1. confidence: that each calibration keeps alpha, 0 to 1; None: on average over
    calibrations. source_pattern: regular expression whose first group in a file's path is its source; without one it is the
    first folder of the path. path_column: of CSV and Parquet files that list files. source_column: of these, of tables whose
    rows are the items, or of Parquet files whose column bytes_column holds whole files. limit: items to read; None: all.
    batch_size: windows in one run; None takes what each model's config says. top_k: classes in the column top_k. embeddings:
    whether the column embedding is written, of the models that have this output.
    """

    datasets: tuple[str, ...]
    models: tuple[str, ...]
    repository: Path = Path("models")
    engine: str = EMBEDDED
    alpha: float = 0.01
    confidence: float | None = None
    source_pattern: str = ""
    path_column: str = ""
    source_column: str = ""
    bytes_column: str = ""
    limit: int | None = None
    batch_size: int | None = None
    top_k: int = 3
    embeddings: bool = False
    device: Device = "config"

    def to_settings(self, begun: JobSettings | None = None) -> JobSettings:
        """Pin each model to its newest version, and to the calibration for the scores of the engine.

        begun: the settings of a job that is to be resumed: it keeps its calibrations, whatever was activated since. Raises
        SettingsError, RepositoryError, JobError, CalibrationError, EngineUnavailable.
        """
        if len(set(self.models)) != len(self.models):
            raise SettingsError("a model is named twice; name each once")
        if problem := level_problem(self.alpha, self.confidence):
            raise SettingsError(f"--{problem[1]}")
        SourceRule(self.source_pattern)
        repository = ModelRepository(self.repository)
        versions = [repository.version(name) for name in self.models]
        try:
            return JobSettings(
                rows_format=ROWS_FORMAT,
                roots=tuple(map(name_of, self.datasets)),
                repository=str(self.repository),
                models=self._choices(repository, begun),
                contents=contents_for(versions),
                alpha=self.alpha,
                confidence=self.confidence,
                source_pattern=self.source_pattern,
                path_column=self.path_column,
                source_column=self.source_column,
                bytes_column=self.bytes_column,
                row_columns=row_columns_for(versions),
                limit=self.limit,
                top_k=self.top_k,
                embeddings=self.embeddings,
                engine=self.engine,
                device=self.device,
            )
        except ValidationError as error:
            raise SettingsError(validation_message(error)) from error

    def _choices(self, repository: ModelRepository, begun: JobSettings | None) -> tuple[ChosenModel, ...]:
        options = engine_options(self.engine, self.device)
        pinned = {(model.name, model.version): model for model in begun.models} if begun else {}
        choices = []
        with open_engine(self.engine, repository, device=self.device, intra_op_threads=1) as engine:
            for version in map(repository.version, self.models):
                before = pinned.get((version.name, version.version))
                if before is None:
                    choices.append(choose(version, find_calibration(engine, version, options), self.batch_size))
                else:
                    kept = {"calibration_id": before.calibration_id, "tie": before.tie}
                    choices.append(choose(version, None, self.batch_size).model_copy(update=kept))
        return tuple(choices)

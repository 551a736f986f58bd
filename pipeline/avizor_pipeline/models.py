"""Pin the models of a job when it begins, and open them in each process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from avizor_inference.engines.base import Engine
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.errors import JobError
from avizor_inference.items.input_spec import AudioInput
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import call_batch_size, preferred_batch_size
from avizor_pipeline.settings import ChosenModel, JobSettings

# Windows in one run of a model whose config.pbtxt names no batch size.
DEFAULT_BATCH_SIZE = 32


@dataclass(frozen=True)
class JobModel:
    """Holds one model of the job: which one it is, what it takes, and what its scores are compared with."""

    choice: ChosenModel
    version: ModelVersion
    spec: AudioInput
    calibration: Calibration | None

    @property
    def name(self) -> str:
        """Return the model's name."""
        return self.choice.name

    @property
    def output(self) -> str:
        """Return the only output that the job needs: `probabilities` of a classifier, `score` of an autoencoder."""
        return "probabilities" if self.labels else "score"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Return a classifier's labels; they are empty for an autoencoder."""
        return self.version.manifest.labels or ()

    @cached_property
    def thresholds(self) -> tuple[float, ...]:
        """Return the thresholds of a multi-label classifier's classes; they are empty for any other model."""
        return self.version.manifest.thresholds


def choose(repository: ModelRepository, name: str, batch_size: int | None = None) -> ChosenModel:
    """Pin a model to its newest version, that version's calibration, and a batch size.

    batch_size: windows in one run; None takes what config.pbtxt says, as tuned, or else the largest it prefers, or else 32.
    Raises ModelNotFound, VersionRefused.
    """
    version = repository.version(name)
    calibration = version.calibration()
    return ChosenModel(
        name=name,
        version=version.version,
        sha256=version.manifest.model_sha256,
        calibration_id=calibration.id if calibration else None,
        batch_size=batch_size or call_batch_size(version.config) or preferred_batch_size(version.config) or DEFAULT_BATCH_SIZE,
    )


def open_models(settings: JobSettings) -> list[JobModel]:
    """Read the descriptions of the chosen versions.

    Raises JobError if a model does not take sound or has changed since it was chosen, RepositoryError if it cannot be read.
    """
    repository = ModelRepository(settings.repository)
    return [_open(repository.version(choice.name, choice.version), choice) for choice in settings.models]


def open_job_engine(settings: JobSettings) -> Engine:
    """Open the engine of one worker. It uses one thread: there is a worker for each core."""
    return open_engine(settings.engine, ModelRepository(settings.repository), device=settings.device, intra_op_threads=1)


def _open(version: ModelVersion, choice: ChosenModel) -> JobModel:
    spec = version.manifest.input
    if not isinstance(spec, AudioInput):
        raise JobError(f"model {choice.name!r} takes {spec.modality}, and this job streams audio; use avizor serve")
    calibration = version.calibration()
    actual = (version.manifest.model_sha256, calibration.id if calibration else None)
    if actual != (choice.sha256, choice.calibration_id):
        raise JobError(
            f"model {choice.name!r} version {choice.version} was changed since the job began; choose another --out to start "
            "again"
        )
    return JobModel(choice, version, spec, calibration)

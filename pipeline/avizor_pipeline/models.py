"""The models of a job, opened in one process: what each takes and how it judges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from avizor_inference.anomaly.judge import Judge
from avizor_inference.engines.base import Engine
from avizor_inference.engines.open import open_engine
from avizor_inference.errors import JobError
from avizor_inference.items.inputs import AudioInput
from avizor_inference.items.windows import WindowFormat
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import call_batch_size, preferred_batch_size
from avizor_pipeline.settings import ChosenModel, JobSettings

# Windows in one run of a model whose config names no batch size.
USUAL_BATCH_SIZE = 32


@dataclass(frozen=True)
class JobModel:
    """One model of the job. `output` is the only tensor that is asked for."""

    choice: ChosenModel
    version: ModelVersion
    format: WindowFormat
    calibration: Calibration | None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.choice.name

    @property
    def output(self) -> str:
        """`probabilities` of a classifier, `score` of an autoencoder."""
        return "probabilities" if self.labels else "score"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """A classifier's labels; none for an autoencoder."""
        return self.version.manifest.labels or ()

    @cached_property
    def judge(self) -> Judge | None:
        """What gives p-values; None without a calibration."""
        return Judge(self.calibration) if self.calibration else None


def choose(repository: ModelRepository, name: str, batch_size: int | None = None) -> ChosenModel:
    """Pin a model to its newest version, that version's calibration, and a batch size.

    batch_size: windows in one run; None takes what config.pbtxt says, as tuned, or else the largest it prefers, or else 32.
    """
    version = repository.version(name)
    calibration = version.calibration()
    return ChosenModel(
        name=name,
        version=version.version,
        sha256=version.manifest.model_sha256,
        calibration_id=calibration.id if calibration else None,
        batch_size=batch_size or call_batch_size(version.config) or preferred_batch_size(version.config) or USUAL_BATCH_SIZE,
    )


def open_models(settings: JobSettings) -> list[JobModel]:
    """Open the chosen versions' descriptions. Raises JobError if one is not for sound, or was changed since it was chosen."""
    repository = ModelRepository(settings.repository)
    return [_open(repository.version(choice.name, choice.version), choice) for choice in settings.models]


def _open(version: ModelVersion, choice: ChosenModel) -> JobModel:
    spec = version.manifest.input
    if not isinstance(spec, AudioInput):
        raise JobError(f"model {choice.name!r} takes {spec.modality}, and this job streams audio; use avizor serve")
    calibration = version.calibration()
    found = (version.manifest.model_sha256, calibration.id if calibration else None)
    if found != (choice.sha256, choice.calibration_id):
        raise JobError(f"model {choice.name!r} version {choice.version} was changed since the job began; start it anew")
    return JobModel(choice, version, spec.window_format(), calibration)


def open_job_engine(settings: JobSettings) -> Engine:
    """The engine of one worker. One thread per run: there is a worker for each core, and each goes the whole way."""
    return open_engine(settings.engine, ModelRepository(settings.repository), device=settings.device, intra_op_threads=1)

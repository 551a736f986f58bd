"""The models of a job, opened in one process: what each takes, how it judges, and the batches that feed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from avizor_inference.calibration import Calibration, Verdicts
from avizor_inference.embedded import EmbeddedEngine
from avizor_inference.engine import Array, Engine
from avizor_inference.errors import JobError
from avizor_inference.manifest import AudioInput
from avizor_inference.repository import ModelRepository, ModelVersion
from avizor_inference.windows import Samples, WindowFormat
from avizor_pipeline.settings import ChosenModel, JobSettings

Key = TypeVar("Key")


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

    def verdicts(self, source: str, alpha: float) -> Verdicts | None:
        """What judges this source; None without a calibration."""
        return self.calibration.for_source(source, alpha) if self.calibration else None


def choose(repository: ModelRepository, name: str) -> ChosenModel:
    """Pin a model to its newest version and that version's calibration."""
    version = repository.version(name)
    calibration = version.calibration()
    return ChosenModel(
        name=name,
        version=version.version,
        sha256=version.manifest.model_sha256,
        calibration_id=calibration.id if calibration else None,
    )


def open_models(settings: JobSettings) -> list[JobModel]:
    """Open the chosen versions' descriptions. Raises JobError if one is not for sound, or was changed since it was chosen."""
    repository = ModelRepository(settings.repository)
    return [_open(repository.version(choice.name, choice.version), choice) for choice in settings.models]


def _open(version: ModelVersion, choice: ChosenModel) -> JobModel:
    spec = version.manifest.input
    if not isinstance(spec, AudioInput):
        raise JobError(f"model {choice.name!r} takes {spec.modality}, and this job streams audio")
    calibration = version.calibration()
    found = (version.manifest.model_sha256, calibration.id if calibration else None)
    if found != (choice.sha256, choice.calibration_id):
        raise JobError(f"model {choice.name!r} version {choice.version} was changed since the job began; start it anew")
    return JobModel(choice, version, spec.window_format(), calibration)


def open_engine(settings: JobSettings) -> Engine:
    """The engine of one worker. One thread per run: there is a worker for each core, and each goes the whole way."""
    return EmbeddedEngine(Path(settings.repository), device=settings.device, intra_op_threads=1)


class Batcher(Generic[Key]):
    """Collects windows for one model, across files, and runs it whenever a batch is full."""

    def __init__(self, engine: Engine, model: JobModel, batch_size: int, deliver: Callable[[Key, Array], None]) -> None:
        spec = engine.spec(model.name, model.choice.version)
        (self._input,) = spec.inputs
        self._engine, self._model, self._deliver = engine, model, deliver
        self._keys: list[Key] = []
        self._batch = np.empty((min(batch_size, spec.max_batch_size), model.format.window), dtype=np.float32)

    def add(self, key: Key, samples: Samples) -> None:
        """Take float32[window]; its result is delivered once its batch has run."""
        self._batch[len(self._keys)] = samples
        self._keys.append(key)
        if len(self._keys) == len(self._batch):
            self.flush()

    def flush(self) -> None:
        """Run what has been collected."""
        keys, self._keys = self._keys, []
        if not keys:
            return
        name, output = self._model.name, self._model.output
        inputs = {self._input: self._batch[: len(keys)]}
        results = self._engine.infer(name, inputs, [output], version=self._model.choice.version)[output]
        for key, result in zip(keys, results, strict=True):
            self._deliver(key, result)

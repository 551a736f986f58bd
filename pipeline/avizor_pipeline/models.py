"""The models of a job, opened in one process: what each takes, how it judges, and the batches that feed it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from avizor_inference.anomaly.judge import Judge
from avizor_inference.arrays import Array, Samples
from avizor_inference.engines.base import Engine, InferRequest
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

# Called with one window's result.
Taker = Callable[[Array], None]


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


class Batcher:
    """Collects windows for one model, across files, and runs it whenever a batch is full.

    in_flight: batches that may be under way at once. 1 runs each where it stands, which is right for an engine in this very
    process: a second thread would only fight for the core.
    """

    def __init__(self, engine: Engine, model: JobModel, batch_size: int, in_flight: int) -> None:
        spec = engine.spec(model.name, model.choice.version)
        (self._input,) = spec.inputs
        self._engine, self._model, self._in_flight = engine, model, in_flight
        shape = (min(batch_size, spec.max_batch_size), model.format.window)
        self._free = [np.empty(shape, dtype=np.float32) for _ in range(in_flight)]
        self._batch = self._free.pop()
        self._takers: list[Taker] = []
        self._under_way: deque[tuple[Future[dict[str, Array]], Array, list[Taker]]] = deque()

    def add(self, samples: Samples, taker: Taker) -> None:
        """Take float32[window]; `taker` is called with its result, in order, once its batch has run."""
        self._batch[len(self._takers)] = samples
        self._takers.append(taker)
        if len(self._takers) == len(self._batch):
            self._run()

    def flush(self) -> None:
        """Run what has been collected, and wait for all that is under way."""
        if self._takers:
            self._run()
        while self._under_way:
            self._collect()

    def _run(self) -> None:
        takers, self._takers = self._takers, []
        name, version, outputs = self._model.name, self._model.choice.version, [self._model.output]
        inputs = {self._input: self._batch[: len(takers)]}
        if self._in_flight == 1:
            _deliver(self._engine.infer(InferRequest(name, inputs, outputs, version=version)), takers)
            return
        self._under_way.append((self._engine.submit(InferRequest(name, inputs, outputs, version=version)), self._batch, takers))
        if not self._free:
            self._collect()
        self._batch = self._free.pop()

    def _collect(self) -> None:
        future, batch, takers = self._under_way.popleft()
        _deliver(future.result(), takers)
        self._free.append(batch)


def _deliver(answer: dict[str, Array], takers: list[Taker]) -> None:
    (results,) = answer.values()
    for taker, result in zip(takers, results, strict=True):
        taker(result)

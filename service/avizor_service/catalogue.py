"""The models that a gateway serves: its own copy of their manifests and calibrations, held against what the engine runs."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from avizor.v1 import inference_pb2 as pb
from avizor_inference.anomaly.judge import Judge
from avizor_inference.engines.base import Engine, ModelSpec, check_same_digest
from avizor_inference.errors import CalibrationError, InvalidInput
from avizor_inference.items.inputs import AudioInput, ImageInput, TableInput, TensorSpec
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelRepository, ModelVersion

_TASKS = {"classify": pb.TASK_CLASSIFY, "reconstruct": pb.TASK_RECONSTRUCT}


@dataclass(frozen=True)
class ServedVersion:
    """One version, ready to be asked."""

    version: ModelVersion
    spec: ModelSpec
    calibration: Calibration | None

    @property
    def manifest(self) -> Manifest:
        """Its manifest."""
        return self.version.manifest

    def require(self, task: str) -> None:
        """Raise InvalidInput unless the model is for this task."""
        if self.manifest.task != task:
            other = "DetectAnomaly" if task == "classify" else "Classify"
            raise InvalidInput(f"model {self.version.name!r} is there to {self.manifest.task}; call {other}", field="model")

    @cached_property
    def judge(self) -> Judge:
        """What gives p-values, made once. Raises CalibrationError where there is no calibration."""
        return Judge(self.require_calibration())

    def require_calibration(self) -> Calibration:
        """The calibration. Raises CalibrationError where there is none."""
        if self.calibration is None:
            raise CalibrationError(
                f"model {self.version.name!r} has no calibration, so there are no p-values; its owner has to export it with "
                "normal recordings"
            )
        return self.calibration


class ServedModels:
    """Opens versions when they are first asked for, and keeps them."""

    def __init__(self, repository: ModelRepository, engine: Engine) -> None:
        self._repository, self._engine = repository, engine
        self._open: dict[tuple[str, int], ServedVersion] = {}
        self._lock = threading.Lock()

    def get(self, name: str, version: int = 0) -> ServedVersion:
        """A version, the newest for 0. Raises InvalidInput, ModelNotFound, VersionRefused, EngineUnavailable."""
        if not name:
            raise InvalidInput("name a model", field="model")
        if version < 0:
            raise InvalidInput(f"version {version} is below 0; 0 is the newest", field="version")
        # The newest is the newest that the engine has, which may be behind the repository.
        number = version or self._engine.spec(name).version
        with self._lock:
            if (name, number) not in self._open:
                self._open[name, number] = self._opened(self._repository.version(name, number))
            return self._open[name, number]

    def calibrations(self) -> dict[str, Calibration]:
        """The calibration of each model's newest version that has one. Needs no engine."""
        found = {name: self._repository.version(name).calibration() for name in self.names()}
        return {name: calibration for name, calibration in found.items() if calibration is not None}

    def names(self) -> list[str]:
        """Names of the repository's models."""
        return self._repository.names()

    def describe(self, name: str, version: int = 0) -> pb.Model:
        """What a client is told of a model. Needs no engine."""
        if not name:
            raise InvalidInput("name a model", field="name")
        found = self._repository.version(name, version or None)
        manifest, calibration = found.manifest, found.calibration()
        message = pb.Model(
            name=name,
            version=found.version,
            versions=self._repository.versions(name),
            task=_TASKS[manifest.task],
            outputs=_tensors(manifest.outputs),
            labels=manifest.labels or (),
            max_batch_size=found.config.max_batch_size,
            sha256=manifest.model_sha256,
        )
        _describe_input(message, manifest)
        if calibration:
            message.calibration.id = calibration.id
            message.calibration.created.FromDatetime(calibration.created)
            for source in calibration.source_names:
                message.calibration.recordings[source] = calibration.recordings(source)
        return message

    def _opened(self, found: ModelVersion) -> ServedVersion:
        spec = self._engine.spec(found.name, found.version)
        check_same_digest(spec, found)
        return ServedVersion(found, spec, found.calibration())


def _describe_input(message: pb.Model, manifest: Manifest) -> None:
    spec = manifest.input
    if isinstance(spec, ImageInput):
        message.image.CopyFrom(pb.ImageInput(height=spec.height, width=spec.width, channels=spec.channels))
    elif isinstance(spec, AudioInput):
        message.audio.CopyFrom(
            pb.AudioInput(sample_rate=spec.sample_rate, window_samples=spec.window_samples, hop_samples=spec.hop_samples)
        )
    elif isinstance(spec, TableInput):
        for column in spec.front_end.columns:
            message.table.columns.add(name=column.name, categories=column.categories if column.kind == "category" else ())
    else:
        message.tensor.CopyFrom(next(iter(_tensors([spec.tensor()]))))


def _tensors(specs: Iterable[TensorSpec]) -> Iterable[pb.TensorSpec]:
    return (pb.TensorSpec(name=s.name, dtype=s.dtype, shape=s.item_shape, meaning=s.meaning) for s in specs)

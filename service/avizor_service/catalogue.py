"""Hold the models a gateway serves: its own copy of their manifests and calibrations, compared with what the engine runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property

from avizor_inference.anomaly.p_values import Judge
from avizor_inference.engines.base import Engine, ModelSpec, check_same_digest
from avizor_inference.errors import CalibrationError
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelRepository, ModelVersion


@dataclass(frozen=True)
class OpenVersion:
    """Holds one version of a model, ready to answer: what the repository says of it, and what the engine says."""

    version: ModelVersion
    spec: ModelSpec
    calibration: Calibration | None

    @property
    def manifest(self) -> Manifest:
        """Return the version's manifest."""
        return self.version.manifest

    @cached_property
    def judge(self) -> Judge:
        """Return the judge of its calibration, made once. Raises CalibrationError if it has no calibration."""
        return Judge(self.require_calibration())

    def require_calibration(self) -> Calibration:
        """Return the calibration. Raises CalibrationError if there is none."""
        if self.calibration is None:
            raise CalibrationError(
                f"model {self.version.name!r} has no calibration, so there are no p-values; its owner has to export it with "
                "normal recordings"
            )
        return self.calibration


class Catalogue:
    """Opens versions when they are first asked for, and keeps them."""

    def __init__(self, repository: ModelRepository, engine: Engine) -> None:
        self._repository, self._engine = repository, engine
        self._open: dict[tuple[str, int], OpenVersion] = {}
        self._lock = threading.Lock()

    def open(self, name: str, version: int = 0) -> OpenVersion:
        """Return a version that the engine runs, the newest for 0. Raises ModelNotFound, VersionRefused, EngineUnavailable."""
        # The newest is the newest that the engine has, which may be behind the repository.
        number = version or self._engine.spec(name).version
        with self._lock:
            if (name, number) not in self._open:
                self._open[name, number] = self._opened(self._repository.version(name, number))
            return self._open[name, number]

    def find(self, name: str, version: int = 0) -> ModelVersion:
        """Return a version as the repository has it, the newest for 0. Needs no engine. Raises ModelNotFound."""
        return self._repository.version(name, version or None)

    def names(self) -> list[str]:
        """Return the names of the repository's models, sorted."""
        return self._repository.names()

    def versions(self, name: str) -> list[int]:
        """Return the numbers of a model's versions, ascending. Raises ModelNotFound."""
        return self._repository.versions(name)

    def calibrations(self) -> dict[str, Calibration]:
        """Return the calibration of each model's newest version that has one. Needs no engine."""
        by_name = {name: self.find(name).calibration() for name in self.names()}
        return {name: calibration for name, calibration in by_name.items() if calibration is not None}

    def _opened(self, version: ModelVersion) -> OpenVersion:
        spec = self._engine.spec(version.name, version.version)
        check_same_digest(spec, version)
        return OpenVersion(version, spec, version.calibration())

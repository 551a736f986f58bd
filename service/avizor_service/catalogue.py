"""Hold the models a gateway serves: its own copy of their manifests and calibrations, compared with what the engine runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from avizor_inference.anomaly.engine_calibration import find_calibration
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.engines.base import Engine, check_same_digest
from avizor_inference.errors import CalibrationError, NotExplainable
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.models import ModelRepository, ModelVersion

if TYPE_CHECKING:
    from avizor_inference.explain.cam import ClassHead


class OpenVersion:
    """Holds one version of a model, ready to answer: what the repository says of it, and what the engine says.

    forget_newest: to be called when the engine is away. It may come back with other versions.
    """

    def __init__(
        self, version: ModelVersion, engine: Engine, engine_options: str, forget_newest: Callable[[], None] = lambda: None
    ) -> None:
        self.version, self.manifest, self.spec = version, version.manifest, engine.spec(version.name, version.version)
        self._engine, self._engine_options = engine, engine_options
        self.forget_newest = forget_newest
        self._judge: tuple[Calibration, Judge] | None = None
        self._lock = threading.Lock()

    @cached_property
    def longest_label_bytes(self) -> int:
        """Return the size of the longest label of a classifier in bytes; 0 if there are none."""
        return max((len(label.encode()) for label in self.manifest.labels or ()), default=0)

    def labels_of(self, output: str) -> Sequence[str]:
        """Return the labels of an output's values, in their order; empty if they have none."""
        return self.manifest.labels or () if output in self._labelled else ()

    @cached_property
    def _labelled(self) -> frozenset[str]:
        return frozenset(output.name for output in self.version.config.output if output.label_filename)

    def class_head(self) -> ClassHead:
        """Return the head of a classifier, which its activation maps need. The first call reads the graph: for a thread.

        Raises NotExplainable if the graph has none that is known, VersionRefused.
        """
        head = self._head
        if isinstance(head, str):
            raise NotExplainable(head)  # anew: an error that is raised again and again keeps all its frames
        return head

    @cached_property
    def _head(self) -> ClassHead | str:
        from avizor_inference.explain.cam import ClassHead  # loads onnx

        try:
            return ClassHead.read(self.version)
        except NotExplainable as error:
            return str(error)

    @property
    def calibration(self) -> Calibration | None:
        """Return the calibration that verdicts of this gateway come from; None before the first."""
        return self._judge[0] if self._judge else None

    def judging_in_use(self) -> tuple[Calibration, Judge] | None:
        """Return the calibration and the judge of earlier verdicts; None before the first. Never waits: for the event loop."""
        return self._judge

    def judging(self) -> tuple[Calibration, Judge]:
        """Return the calibration for the engine's scores, and its judge. The first call chooses it, and runs the probe items.

        Raises CalibrationError if there is none, or the engine's scores do not agree with it; then the next call tries again.
        """
        with self._lock:
            if self._judge is None:
                found = find_calibration(self._engine, self.version, self._engine_options)
                if found is None:
                    raise CalibrationError(
                        f"model {self.version.name!r} has no calibration, so there are no p-values; make one of normal items: "
                        f"{self.version.calibrate_command(self._engine_options)}"
                    )
                self._judge = found.calibration, Judge(found.calibration, found.tie)
            return self._judge


class Catalogue:
    """Opens versions when they are first asked for, and keeps them.

    engine_options: how the engine is named on a command line (open_engine.engine_options).
    """

    def __init__(self, repository: ModelRepository, engine: Engine, engine_options: str = "--engine ort") -> None:
        self._repository, self._engine, self._engine_options = repository, engine, engine_options
        self._open: dict[tuple[str, int], OpenVersion] = {}
        self._newest: dict[str, OpenVersion] = {}
        self._lock = threading.Lock()

    def open(self, name: str, version: int = 0) -> OpenVersion:
        """Return a version that the engine runs, the newest for 0. Raises ModelNotFound, VersionRefused, EngineUnavailable."""
        # The newest is the newest that the engine has, which may be behind the repository.
        number = version or self._engine.spec(name).version
        with self._lock:
            if (name, number) not in self._open:
                self._open[name, number] = self._opened(self._repository.version(name, number))
            opened = self._open[name, number]
            if not version:
                self._newest[name] = opened
            return opened

    def opened(self, name: str, version: int = 0) -> OpenVersion | None:
        """Return a version that is open, the newest for 0, or None. Never waits: for the event loop."""
        return self._open.get((name, version)) if version else self._newest.get(name)

    def knows(self, name: str) -> bool:
        """Return whether the repository has a model of that name. Needs no engine."""
        return name in self._repository.names()

    def forget_newest(self) -> None:
        """Ask the engine again which versions are the newest: it may have come back with others."""
        self._newest.clear()

    def find(self, name: str, version: int = 0) -> ModelVersion:
        """Return a version as the repository has it, the newest for 0. Needs no engine. Raises ModelNotFound."""
        return self._repository.version(name, version or None)

    def names(self) -> list[str]:
        """Return the names of the repository's models, sorted."""
        return self._repository.names()

    def versions(self, name: str) -> list[int]:
        """Return the numbers of a model's versions, ascending. Raises ModelNotFound."""
        return self._repository.versions(name)

    def calibrations(self) -> dict[str, tuple[Calibration, ...]]:
        """Return the active calibrations of each model's newest version that has some. Needs no engine."""
        by_name = {name: self.find(name).calibrations() for name in self.names()}
        return {name: calibrations for name, calibrations in by_name.items() if calibrations}

    def calibration_in_use(self, version: ModelVersion, active: Sequence[Calibration]) -> Calibration | None:
        """Return the calibration that verdicts on a version come from. Needs no engine. active: the version's active ones.

        Before the first verdict that is the only active one; None if there are several, of which the engine decides.
        """
        opened = self._open.get((version.name, version.version))
        if opened and opened.calibration:
            return opened.calibration
        return active[0] if len(active) == 1 else None

    def _opened(self, version: ModelVersion) -> OpenVersion:
        opened = OpenVersion(version, self._engine, self._engine_options, self.forget_newest)
        check_same_digest(opened.spec, version)
        return opened

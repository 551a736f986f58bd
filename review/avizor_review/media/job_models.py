"""Find the models of a job, as they were when it ran, and run them for maps: of errors, and of what speaks for a class."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from avizor_inference.engines.base import Engine
from avizor_inference.engines.open_engine import EMBEDDED, open_engine
from avizor_inference.errors import AvizorError, RepositoryError, VersionRefused
from avizor_inference.explain.error_map import error_map
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.file_access import path_of
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_review.results import Results

if TYPE_CHECKING:
    from avizor_inference.explain.cam import ClassHead


class JobModels:
    """Opens the models of a job from a repository: the one that is named, or else the one that the job used.

    Maps are computed with ONNX Runtime on the CPU, which each machine has, whatever engine the job ran on.
    """

    def __init__(self, results: Results, models: Path | None = None) -> None:
        self._results, self._root = results, models or _repository(results)
        self._found: dict[tuple[str, int | None], ModelVersion] = {}
        self._heads: dict[str, ClassHead] = {}
        self._engine: Engine | None = None
        self._closing, self._lock = ExitStack(), threading.Lock()

    def close(self) -> None:
        """Close the engine."""
        self._closing.close()

    def version(self, name: str, number: int | None = None) -> ModelVersion | None:
        """Return the version that the job used; None if it is not at hand. number: of the version, where there are several."""
        found = self._look(name, number)
        return None if isinstance(found, str) else found

    def problem(self, name: str, number: int | None = None) -> str:
        """Return why a model is not at hand; "" if it is."""
        found = self._look(name, number)
        return found if isinstance(found, str) else ""

    def calibration(self, name: str) -> Calibration | None:
        """Return the calibration that a model's scores were compared with; None if there was none, or it is not at hand."""
        version, model = self.version(name), self._results.job.model(name)
        if version is None or model is None or model.calibration_id is None:
            return None
        try:
            return version.calibration(model.calibration_id)
        except RepositoryError:
            return None

    def card(self, name: str) -> str:
        """Return the card of the version in Markdown; "" if it is not at hand."""
        version = self.version(name)
        path = version.folder / "card.md" if version else None
        try:
            return path.read_text(encoding="utf-8", errors="replace") if path else ""
        except OSError:
            return ""

    def error_map(self, name: str, row: RawRow, number: int | None = None) -> HeatMap:
        """Return where in a row the model's reconstruction is wrong. Raises InvalidInput, EngineError, RepositoryError."""
        version = self.version(name, number)
        if version is None:
            raise RepositoryError(self.problem(name, number))
        return error_map(self._opened(), version, row)

    def class_map(self, name: str, row: RawRow, target: str | None = None) -> HeatMap:
        """Return what of a row speaks for a class. target: its label; None for the most probable one.

        Raises NotExplainable if the model is not made for it, InvalidInput, EngineError, RepositoryError.
        """
        version = self.version(name)
        if version is None:
            raise RepositoryError(self.problem(name))
        from avizor_inference.explain.cam import ClassHead, class_maps  # loads onnx

        with self._lock:
            if name not in self._heads:
                self._heads[name] = ClassHead.read(version)
        return class_maps(self._opened(), version, [row], target, self._heads[name])[0]

    def _opened(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = self._closing.enter_context(open_engine(EMBEDDED, ModelRepository(self._root), device="cpu"))
            return self._engine

    def _look(self, name: str, number: int | None) -> ModelVersion | str:
        if found := self._found.get((name, number)):
            return found
        found_now = self._find(name, number)
        if not isinstance(found_now, str):
            self._found[name, number] = found_now
        return found_now

    def _find(self, name: str, number: int | None) -> ModelVersion | str:
        model = self._results.job.model(name, number)
        if model is None:
            return f"the job had no model named {name!r}"
        if not self._root.is_dir():
            return f"there is no folder of models at {self._root}; name the job's with --models"
        try:
            version = ModelRepository(self._root).version(name, model.version)
            if model.sha256 and version.manifest.model_sha256 != model.sha256:
                raise VersionRefused(f"{version.folder} is not the version that the job used")
            version.verify()
        except AvizorError as error:
            return f"{error}; name the folder of the job's models with --models"
        return version


def _repository(results: Results) -> Path:
    """Return the folder that the job named: from here, or else beside its results, where the job may have been started."""
    here = path_of(results.job.repository)
    beside = results.folder.resolve().parent / here
    return here if here.is_dir() or not beside.is_dir() else beside

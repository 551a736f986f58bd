"""Hold one version of a model that is open: its manifest, what the engine says of it, and what its scores are compared with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from avizor_inference.anomaly.engine_calibration import find_calibration
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.engines.base import Engine
from avizor_inference.engines.ort_installed import require_onnxruntime
from avizor_inference.errors import CalibrationError, NotExplainable
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.models import ModelVersion
from avizor_service.engine_holds import EngineHold

if TYPE_CHECKING:
    from avizor_inference.explain.cam import ClassHead


class OpenVersion:
    """Holds one version of a model, ready to answer: what the repository says of it, and what the engine says.

    Its calibration never changes: another one makes another OpenVersion, so that a call judges with one only.

    forget_newest: to be called when the engine is away. It may come back with other versions. hold: keeps what the engine has
    loaded for it.
    """

    def __init__(
        self,
        version: ModelVersion,
        engine: Engine,
        engine_options: str,
        forget_newest: Callable[[], None] = lambda: None,
        hold: EngineHold | None = None,
    ) -> None:
        self.version, self.manifest, self.spec = version, version.manifest, engine.spec(version.name, version.version)
        self.hold, self.is_proven = hold, False  # whether the engine has computed its probe items as export did
        self._engine, self._engine_options = engine, engine_options
        self.forget_newest = forget_newest
        self._judge: tuple[Calibration, Judge] | None = None
        self._active: tuple[Calibration, ...] = ()  # those that _judge was chosen from
        self._lock = threading.Lock()
        version.config  # noqa: B018 - is read now: the file belongs to all versions, and may be replaced

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
        require_onnxruntime("a class activation map", "where the gateway runs")
        from avizor_inference.explain.cam import ClassHead  # loads onnx

        try:
            return ClassHead.read(self.version)
        except NotExplainable as error:
            return str(error)

    @property
    def calibration(self) -> Calibration | None:
        """Return the calibration that verdicts of this gateway come from; None before the first."""
        return self._judge[0] if self._judge else None

    def active_calibrations(self) -> tuple[Calibration, ...]:
        """Return the active calibrations: those that the one in use was chosen from; before that, those on disk.

        Raises VersionRefused.
        """
        return self._active if self._judge else self.version.calibrations()

    def judging_in_use(self) -> tuple[Calibration, Judge] | None:
        """Return the calibration and the judge of earlier verdicts; None before the first. Never waits: for the event loop."""
        return self._judge

    def judging(self) -> tuple[Calibration, Judge]:
        """Return the calibration for the engine's scores, and its judge. The first call chooses it, and runs the probe items.

        Raises CalibrationError if there is none, or the engine's scores do not agree with it; then the next call tries again.
        """
        with self._lock:
            if self._judge is None:
                active = self.version.calibrations()
                found = find_calibration(self._engine, self.version, self._engine_options, active)
                if found is None:
                    raise CalibrationError(
                        f"model {self.version.name!r} has no calibration, so there are no p-values; make one of normal items: "
                        f"{self.version.calibrate_command(self._engine_options)}"
                    )
                self._active = active
                self._judge = found.calibration, Judge(found.calibration, found.tie)
            return self._judge

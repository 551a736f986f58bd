"""Pick up a calibration that is activated while a job runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from avizor_inference.anomaly.engine_calibration import check_same_channels, find_calibration
from avizor_inference.anomaly.p_values import require_alpha
from avizor_inference.engines.open_engine import engine_options
from avizor_inference.errors import AvizorError
from avizor_inference.repository.calibration_store import read_active
from avizor_inference.unused_memory import give_back
from avizor_pipeline.models import JobModel, open_job_engine
from avizor_pipeline.settings import JobSettings, PinnedCalibration

_log = logging.getLogger(__name__)

# Seconds between two looks at which calibrations are active.
LOOK_EVERY_S = 2.0

Pins = tuple[PinnedCalibration, ...]


class CalibrationWatch:
    """Tells which calibrations judge what comes now.

    models: as the job began. pins: those of the last round, for models for which it has others than the job began with.
    """

    def __init__(self, settings: JobSettings, models: Sequence[JobModel], pins: Pins) -> None:
        self._settings, self._models = settings, models
        self._pins = {pin.model: pin for pin in pins}
        self._active = dict[str, frozenset[str]]()
        self._refused = dict[str, str]()  # model -> why what is there now cannot be used
        self._next_look = 0.0

    @property
    def judging(self) -> Sequence[JobModel]:
        """Return the models with the calibrations that judge now."""
        return [model.judged_by(self._pins.values()) for model in self._models]

    @property
    def calibrated(self) -> Mapping[str, str]:
        """Return the names of the models that judge, and the ids of their calibrations."""
        began_with = {model.name: model.choice.calibration_id for model in self._models if model.choice.calibration_id}
        return began_with | {name: pin.calibration_id for name, pin in self._pins.items()}

    def pins(self) -> Pins:
        """Return the calibrations of a round that begins now. They are looked for again every few seconds."""
        if time.monotonic() >= self._next_look:
            for model in self._models:
                if not model.labels:
                    self._look(model)
            self._next_look = time.monotonic() + LOOK_EVERY_S
        return tuple(self._pins[name] for name in sorted(self._pins))

    def _look(self, model: JobModel) -> None:
        pin = self._pins.get(model.name)
        current = pin.calibration_id if pin else model.choice.calibration_id
        try:
            active = frozenset(read_active(model.version.folder).ids().values())
            self._refused.pop(model.name, None)
            if active == self._active.get(model.name, active if current in active else None):
                self._active[model.name] = active
                return
            self._active[model.name] = active
            found = self._find(model) if active else None
        except AvizorError as error:
            if self._refused.get(model.name) != str(error):
                self._refused[model.name] = str(error)
                _log.warning("%s: what was activated is not used, and calibration %s goes on: %s", model.name, current, error)
            return
        if not found and current:
            _log.warning("%s: no calibration of its scores is active any more, and calibration %s goes on", model.name, current)
        elif found and found.calibration_id != current:
            _log.warning("%s: calibration %s judges what comes from now on", model.name, found.calibration_id)
            if found.calibration_id == model.choice.calibration_id:
                self._pins.pop(model.name, None)
            else:
                self._pins[model.name] = found

    def _find(self, model: JobModel) -> PinnedCalibration | None:
        """Return the calibration for the scores of the job's engine. Raises AvizorError if none may be used."""
        settings, options = self._settings, engine_options(self._settings.engine, self._settings.device)
        with open_job_engine(settings) as engine:
            found = find_calibration(engine, model.version, options)
        give_back()
        if found is None:
            return None
        check_same_channels(model.version, found.calibration, settings.channels, options)
        require_alpha(found.calibration, settings.alpha, settings.confidence)
        return PinnedCalibration(model=model.name, calibration_id=found.calibration.id, tie=found.tie)

"""Count verdicts in the metrics, by model and source, at the gateway's own alpha, whatever alpha a caller asks for."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain

from avizor_inference.anomaly.calibration_text import cross_fitted_note
from avizor_inference.anomaly.drift import DriftDetector, compared_items
from avizor_inference.anomaly.p_values import for_each_source, level, recordings_needed, require_alpha, under_calibrated
from avizor_inference.anomaly.verdict import Verdict
from avizor_inference.errors import CalibrationError
from avizor_inference.repository.calibration import Calibration
from avizor_service.how_to_start import check_all
from avizor_service.metric_labels import BoundedSources
from avizor_service.metrics import Metrics

_log = logging.getLogger(__name__)


class AnomalyMetrics:
    """Counts verdicts.

    alpha: the promised share of false alarms, between 0 and 1. confidence: that each calibration keeps it; None: on average.
    """

    def __init__(self, metrics: Metrics, sources: BoundedSources, alpha: float, confidence: float | None = None) -> None:
        self._metrics, self._sources, self._alpha, self._confidence = metrics, sources, alpha, confidence
        self._shown: dict[str, str] = {}  # id of the calibration in use, by model
        self._told: dict[str, str] = {}  # the same, of which the log has told: callers of older versions do not change it
        self._warned: set[str] = set()  # ids of calibrations
        self._too_small: set[str] = set()  # the same
        self._drifts: dict[tuple[str, str], tuple[str, DriftDetector]] = {}  # by model and label; with the calibration's id
        self._followed: dict[str, dict[str, Calibration]] = {}  # the active ones, by model and id
        # A look-up by labels takes as long as all else that is done to a metric.
        self._scored, self._not_judged = cache(metrics.scored.labels), cache(metrics.not_judged.labels)
        self._anomalies, self._p_value = cache(metrics.anomalies.labels), cache(metrics.p_value.labels)
        self._drift = cache(metrics.drift.labels)

    def start(self, calibrations: Mapping[str, Sequence[Calibration]]) -> None:
        """Show the series of every calibrated model from the start, at 0: a rate needs a first value to rise from.

        calibrations: the active ones, by the model's name. Warns of sources that have too few recordings for alpha. Raises
        CalibrationError if all calibrations of a model have too few in all.
        """
        check_all(calibrations, dict(self._refusals(calibrations)), self._confidence)
        for calibration in chain.from_iterable(calibrations.values()):
            self._sources.add(calibration.source_names)
        for name, active in calibrations.items():
            self.watch(name, active)

    def accept(self, active: Sequence[Calibration]) -> None:
        """Raise CalibrationError if all active calibrations of a model have too few recordings for alpha."""
        if active:  # a smaller one may be for another engine; `watch` warns if it is for this one
            self._require(max(active, key=Calibration.most_of_a_kind))

    def _refusals(self, calibrations: Mapping[str, Sequence[Calibration]]) -> Iterator[tuple[str, str]]:
        """Yield the names of the models that do not support alpha, and why."""
        for name, active in calibrations.items():
            try:
                if active:
                    require_alpha(max(active, key=Calibration.most_of_a_kind), self._alpha, self._confidence)
            except CalibrationError as error:
                yield name, str(error)

    def watch(self, name: str, active: Sequence[Calibration], in_use: Calibration | None = None) -> None:
        """Show the series of a calibrated model: at the start, and when it is loaded or calibrated later.

        active: its active calibrations. in_use: that verdicts come from, if it is known. Warns as `start` does, and if the one
        in use has too few recordings in all, while another one has enough.
        """
        for calibration in active:
            self._sources.add(calibration.source_names)
            if calibration.id not in self._warned:
                self._warned.add(calibration.id)
                self._warn_if_under_calibrated(name, calibration)
        if in_use and len(active) > 1 and in_use.id not in self._too_small:
            try:
                self._require(in_use)
            except CalibrationError as error:
                self._too_small.add(in_use.id)
                _log.warning("%s: its calibration %s, for the engine here: %s", name, in_use.id, error)
        self._metrics.alert_alpha.labels(name).set(self._alpha)
        if in_use or len(active) == 1:  # of several, the engine decides
            judging = in_use or active[0]
            self.judged_by(name, judging)
            if self._told.get(name) != judging.id:
                self._told[name] = judging.id
                _log.info("model %r: calibration %s judges from now on", name, judging.id)
        self._follow(name, active)
        for source in self._sources.all():
            self._metrics.scored.labels(name, source)
            self._metrics.not_judged.labels(name, source)
            self._metrics.anomalies.labels(name, source)
            self._metrics.alarms.labels(name, source)
            self._metrics.drift.labels(name, source)

    def judged_by(self, model: str, calibration: Calibration) -> None:
        """Show which calibration the verdicts on a model come from."""
        if model not in self._followed:  # it was calibrated since the last look, and with --scan-s 0 there is none
            self._follow(model, [calibration])
        if self._shown.get(model) == calibration.id:
            return
        if model in self._shown:
            self._metrics.calibration_info.remove(model, self._shown[model])
        self._shown[model] = calibration.id
        self._metrics.calibration_info.labels(model, calibration.id).set(1)
        self._metrics.calibration_created.labels(model).set(calibration.created.timestamp())

    def forget_others(self, models: Container[str]) -> None:
        """Forget the evidence of drift of all other models: they are not there any more, or have no calibration."""
        for name in [name for name in self._followed if name not in models]:
            self._follow(name, ())

    def count(self, model: str, source: str, verdict: Verdict, calibration_id: str) -> None:
        """Count one verdict on an item of `source`, as the client named it. calibration_id: of what it comes from."""
        label = self._sources.label(source)
        if verdict.p_value is None or verdict.not_judged(self._alpha, self._confidence):
            self._not_judged(model, label).inc()
            return
        self._scored(model, label).inc()
        self._p_value(model).observe(verdict.p_value)
        if verdict.is_anomaly(self._alpha, self._confidence):
            self._anomalies(model, label).inc()
        calibration = self._followed.get(model, {}).get(calibration_id)
        if calibration and (items := compared_items(calibration, verdict)):
            drift = self._drift_from(model, label, calibration_id)
            drift.add(verdict.p_value, verdict.low_p_value, items)
            self._drift(model, label).set(drift.log_martingale)

    def _drift_from(self, model: str, label: str, calibration_id: str) -> DriftDetector:
        """Return what adds up the drift of a source from a calibration; another one begins anew."""
        followed, drift = self._drifts.get((model, label), ("", None))
        if drift is None or followed != calibration_id:
            drift = DriftDetector()
            self._drifts[model, label] = calibration_id, drift
        return drift

    def _follow(self, model: str, active: Sequence[Calibration]) -> None:
        """Follow what verdicts of these calibrations say of drift, and forget what those before them have said.

        So a stream, or a caller of an older version, that is judged by another one says nothing.
        """
        self._followed[model] = followed = {each.id: each for each in active}
        for name, label in [key for key, (id, _) in self._drifts.items() if key[0] == model and id not in followed]:
            del self._drifts[name, label]
            self._drift(name, label).set(0)

    def count_alarm(self, model: str, source: str) -> None:
        """Count an alarm that began in a stream of `source`, as the client named it."""
        self._metrics.alarms.labels(model, self._sources.label(source)).inc()

    def _require(self, calibration: Calibration) -> None:
        """Raise CalibrationError if a calibration has too few recordings for alpha."""
        try:
            require_alpha(calibration, self._alpha, self._confidence)
        except CalibrationError as error:
            raise CalibrationError(
                f"nothing could be flagged at the gateway's own alpha, and calls that give none are refused: {error}"
            ) from error

    def _warn_if_under_calibrated(self, name: str, calibration: Calibration) -> None:
        if note := cross_fitted_note(calibration, self._alpha):
            _log.warning("%s: %s", name, note)
        if few := under_calibrated(calibration, calibration.source_names, self._alpha, self._confidence):
            _log.warning(
                "%s: too few calibration recordings for %s, which needs %d: %s; of n, up to 1 in n + 1 normal items may "
                "be flagged, and alerts on these sources may be false%s",
                name,
                level(self._alpha, self._confidence),
                recordings_needed(self._alpha, self._confidence),
                ", ".join(f"{source} ({count})" for source, count in few.items()),
                for_each_source(calibration, self._confidence),
            )

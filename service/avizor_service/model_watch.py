"""Follow what changes in the model repository, and show it in log and metrics."""

from __future__ import annotations

import logging

from avizor_service.anomaly_metrics import AnomalyMetrics
from avizor_service.catalogue import Catalogue, VersionState
from avizor_service.metrics import Metrics

_log = logging.getLogger(__name__)


class ModelWatch:
    """Shows the states of a catalogue's models in log and metrics, and those of their calibrations."""

    def __init__(self, catalogue: Catalogue, anomaly_metrics: AnomalyMetrics, metrics: Metrics) -> None:
        self._catalogue, self._anomaly_metrics, self._metrics = catalogue, anomaly_metrics, metrics
        self._shown: dict[str, set[VersionState]] = {}

    def start(self) -> None:
        """Show what a quick look finds, before anything is opened. Raises RepositoryError."""
        self._catalogue.survey()
        self._show()

    def reload(self, asked: bool) -> None:
        """Look at the repository again (reloading.Reload). Raises RepositoryError if it cannot be read."""
        self._catalogue.refresh(asked=asked)
        calibrations = self._catalogue.calibrations()
        for name, active in calibrations.items():
            in_use = self._catalogue.calibration_in_use(self._catalogue.find(name), active)
            self._anomaly_metrics.watch(name, active, in_use)
        self._anomaly_metrics.forget_others(calibrations)
        self._show()

    def _show(self) -> None:
        states: dict[str, set[VersionState]] = {}
        for state in self._catalogue.states():
            states.setdefault(state.name, set()).add(state)
        for name in states | self._shown:
            self._show_model(name, states.get(name, set()), self._shown.get(name, set()))
        self._shown = states

    def _show_model(self, name: str, states: set[VersionState], before: set[VersionState]) -> None:
        for state in sorted(before - states):
            if state.reason:
                self._remove(state)
        for state in sorted(states - before):
            if state.reason:
                self._metrics.version_refused.labels(name, str(state.version)).set(1)
                _log.warning("model %r, %s: %s", name, _what(state), state.reason)
        if states:
            self._metrics.model_up.labels(name).set(any(state.is_ready for state in states))
        elif before:
            self._metrics.model_up.remove(name)
        served, earlier = (max((s.version for s in some if s.is_ready), default=0) for some in (states, before))
        if served != earlier:
            _log.info("model %r: %s", name, f"version {served} is served" if served else "is not served")

    def _remove(self, state: VersionState) -> None:
        """Remove the series of what was refused; one that is refused for another reason gets it again."""
        self._metrics.version_refused.remove(state.name, str(state.version))


def _what(state: VersionState) -> str:
    if state.is_ready:
        return f"version {state.version} is served, but not all that is new"
    return f"version {state.version} is refused" if state.version else "refused"

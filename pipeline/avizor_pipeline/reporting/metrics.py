"""Count what a batch job does, as Prometheus metrics, and serve them while it runs if it has a port."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, start_http_server
from prometheus_client.metrics import MetricWrapperBase

from avizor_inference.anomaly.drift import DriftDetector
from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError
from avizor_pipeline.sinks.part_files import Commit


class BatchMetrics:
    """Holds the counters and gauges of one job, in separate registries.

    started_at: when the job began, in seconds since 1970; None: now. running: what is known while it runs; it is served, and
    pushed again and again. ended: that, and how it ended. succeeded: what is kept of the last run that finished.
    most_sources: sources of a model that have series, None for any number; beyond it the one that was counted longest ago has
    none any more. Where each day is a folder, the sources of a live job never end.
    """

    def __init__(self, started_at: float | None = None, most_sources: int | None = None) -> None:
        # It turns off a series beside each counter, which nothing reads. It holds for the whole process.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._most_sources = most_sources
        self._sources: dict[str, dict[str, None]] = {}  # by model, the one that was counted last is the last one
        self.running, self.ended, self.succeeded = CollectorRegistry(), CollectorRegistry(), CollectorRegistry()
        by_source = ("model", "source")
        self._runs = Gauge("avizor_batch_running", "1 while the job runs, 0 when it has ended.", registry=None)
        self._started = Gauge(
            "avizor_batch_last_start_timestamp_seconds", "When the job began, in seconds since 1970.", registry=None
        )
        self._planned = Gauge("avizor_batch_planned_files", "Files of the job.", registry=None)
        self._files = Counter("avizor_batch_files", "Files done, unreadable ones included.", registry=None)
        self._windows = Counter("avizor_batch_windows", "Window rows written.", registry=None)
        self._dead = Counter("avizor_batch_dead_letters", "Files that could not be read.", registry=None)
        self._alpha = Gauge("avizor_batch_alpha", "The job's alpha: promised share of false alarms.", registry=None)
        self._judged = Gauge("avizor_batch_recordings", "Recordings judged by an autoencoder.", by_source, registry=None)
        self._not_judged = Gauge(
            "avizor_batch_recordings_not_judged",
            "Recordings that the calibration has nothing to compare with, such as those shorter than the model's window.",
            by_source,
            registry=None,
        )
        self._flagged = Gauge("avizor_batch_anomalies", "Recordings flagged at the job's alpha.", by_source, registry=None)
        self._drift = Gauge(
            "avizor_batch_drift_log_martingale",
            "Evidence that the scores of a source have drifted away from its calibration, to larger or smaller ones: natural "
            "logarithm of a test martingale; 0 is none, and beyond 30 it is no chance.",
            by_source,
            registry=None,
        )
        self._drifts: dict[tuple[str, str], DriftDetector] = {}  # by model and source
        self._calibrations: dict[str, str] = {}  # by model, those of which the drift is followed
        self._exit_code = Gauge(
            "avizor_batch_last_exit_code",
            "0 all rows, 3 finished with dead letters, 1 failed, 2 wrong usage, 128 + the signal that stopped it.",
            registry=None,
        )
        self._finished = Gauge(
            "avizor_batch_last_finish_timestamp_seconds", "When the job ended, in seconds since 1970.", registry=None
        )
        self._success = Gauge(
            "avizor_batch_last_success_timestamp_seconds",
            "When the job last ended with exit code 0 or 3, in seconds since 1970. Pushed only.",
            registry=None,
        )
        self._runs_every = Gauge(
            "avizor_batch_runs_every_seconds", "Time between two runs, as --runs-every says. Pushed only.", registry=None
        )
        of_sources = (self._judged, self._not_judged, self._flagged, self._drift)
        counted = (self._planned, self._files, self._windows, self._dead, *of_sources)
        for metric in (self._runs, self._started, self._alpha, *counted):
            self.running.register(metric)
            self.ended.register(metric)
        for metric in (self._exit_code, self._finished):
            self.ended.register(metric)
        self.succeeded.register(self._success)
        self._started.set(time.time() if started_at is None else started_at)
        self._runs.set(1)

    def plan(self, files: int, alpha: float) -> None:
        """Set the number of files of the job, and its promised share of false alarms."""
        self._planned.set(files)
        self._alpha.set(alpha)

    def count(self, commit: Commit, calibrated: Mapping[str, str]) -> None:
        """Add one shard. calibrated: names of the models that judge, and the ids of their calibrations."""
        self._files.inc(commit.files)
        self._windows.inc(commit.windows)
        self._dead.inc(commit.dead_letters)
        for model, calibration in calibrated.items():
            self._follow_drift(model, calibration)
            for source, count in commit.sources.get(model, {}).items():
                self._judged.labels(model, source).inc(count.recordings - count.not_judged)
                self._not_judged.labels(model, source).inc(count.not_judged)
                self._flagged.labels(model, source).inc(count.anomalies)
                drift = self._drifts.setdefault((model, source), DriftDetector())
                drift.add_all(count.drift.get(calibration, {}))
                self._drift.labels(model, source).set(drift.log_martingale)
                self._note(model, source)

    def _follow_drift(self, model: str, calibration: str) -> None:
        """Begin anew if another calibration judges: the evidence is against the one that was there."""
        if self._calibrations.get(model) == calibration:
            return
        self._calibrations[model] = calibration
        for name, source in [each for each in self._drifts if each[0] == model]:
            del self._drifts[name, source]
            self._drift.labels(name, source).set(0)

    def _note(self, model: str, source: str) -> None:
        """Take note of a source that was counted, and forget the one that was counted longest ago if there are too many."""
        if self._most_sources is None:
            return
        sources = self._sources.setdefault(model, {})
        sources.pop(source, None)
        sources[source] = None
        if len(sources) > self._most_sources:
            forgotten = next(iter(sources))
            del sources[forgotten]
            self._drifts.pop((model, forgotten), None)
            for metric in (self._judged, self._not_judged, self._flagged, self._drift):
                metric.remove(model, forgotten)

    def finish(self, exit_code: int) -> None:
        """Set how the job ended, and that it ended now."""
        self._runs.set(0)
        self._exit_code.set(exit_code)
        self._finished.set_to_current_time()

    def succeed(self, runs_every_s: float | None) -> None:
        """Set that the job succeeded now. runs_every_s: time in seconds after which its next run begins; None: not known."""
        self._success.set_to_current_time()
        if runs_every_s is not None:
            self._runs_every.set(runs_every_s)
            self.succeeded.register(self._runs_every)

    @contextlib.contextmanager
    def http_server(self, port: int | None) -> Iterator[None]:
        """Serve /metrics on this port of 127.0.0.1 while the context is open, if it is not None. Raises SettingsError."""
        if port is None:
            yield
            return
        try:
            server, thread = start_http_server(port, "127.0.0.1", self.running)
        except OSError as error:
            raise SettingsError(
                f"cannot serve metrics on 127.0.0.1:{port}: {reason(error)}; stop the other process or choose another "
                "--metrics-port"
            ) from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def metric_names() -> frozenset[str]:
    """Return the names as they are exposed: those that rules and dashboards may use."""
    return exposed_names(batch_metrics())


def exposed_names(metrics: Iterable[MetricWrapperBase]) -> frozenset[str]:
    """Return the names under which metrics are exposed."""
    families = [family for metric in metrics for family in metric.describe()]
    return frozenset(family.name + ("_total" if family.type == "counter" else "") for family in families)


def batch_metrics() -> list[MetricWrapperBase]:
    """Return all metrics of a job, for the documentation."""
    return [each for each in vars(BatchMetrics()).values() if isinstance(each, MetricWrapperBase)]

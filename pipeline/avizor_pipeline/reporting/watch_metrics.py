"""Count what a live job does, as Prometheus metrics, beside those of every job."""

from __future__ import annotations

from prometheus_client import Counter, Gauge
from prometheus_client.metrics import MetricWrapperBase

from avizor_pipeline.reporting.metrics import BatchMetrics, exposed_names


class WatchMetrics:
    """Holds what only a live job has. batch: the metrics of its job, with which these are served."""

    def __init__(self, batch: BatchMetrics) -> None:
        self._last_item = Gauge(
            "avizor_watch_last_item_timestamp_seconds",
            "When the last item of a source arrived, in seconds since 1970; the start of the job for one that it had before.",
            ("source",),
            registry=None,
        )
        self._silent = Gauge(
            "avizor_watch_source_silent", "1 while a source is silent by --silent-after-s, else 0.", ("source",), registry=None
        )
        self._away = Gauge("avizor_watch_folders_away", "Folders that cannot be looked at now.", registry=None)
        self._pending = Gauge("avizor_watch_pending_files", "Files that have arrived and are not finished.", registry=None)
        self._changed = Gauge(
            "avizor_watch_changed_files", "Files that have changed since they were read in this run.", registry=None
        )
        self._windows = Counter(
            "avizor_watch_stream_windows",
            "Window rows written of standard input, as they come.",
            ("source",),
            registry=None,
        )
        self._backlog = Gauge(
            "avizor_watch_stream_backlog_bytes",
            "Bytes of standard input that wait for the models.",
            registry=None,
        )
        for metric in self._all():
            batch.running.register(metric)

    def source(self, source: str, at: float, silent: bool | None) -> None:
        """Set when a source was heard last, and whether it is silent; None removes it."""
        if silent is None:
            self._last_item.remove(source)
            self._silent.remove(source)
            return
        self._last_item.labels(source).set(at)
        self._silent.labels(source).set(int(silent))

    def folders(self, away: int, pending: int, changed: int) -> None:
        """Set what the last look has found."""
        self._away.set(away)
        self._pending.set(pending)
        self._changed.set(changed)

    def stream(self, source: str, windows: int) -> None:
        """Add windows whose rows were written."""
        self._windows.labels(source).inc(windows)

    def backlog(self, size: int) -> None:
        """Set how many bytes wait."""
        self._backlog.set(size)

    def _all(self) -> list[MetricWrapperBase]:
        return [each for each in vars(self).values() if isinstance(each, MetricWrapperBase)]


def watch_metrics() -> list[MetricWrapperBase]:
    """Return all of them, for the documentation."""
    return WatchMetrics(BatchMetrics())._all()


def metric_names() -> frozenset[str]:
    """Return the names as they are exposed."""
    return exposed_names(watch_metrics())

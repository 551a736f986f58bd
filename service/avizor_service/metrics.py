"""Declare the gateway's metrics once, in a separate registry: one process can hold several gateways."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

# Latency of one call: from a fraction of a millisecond on a GPU to a long recording on a laptop.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# p-values are uniform if nothing is wrong, so the steps are equal; they are finer near 0, where the alarms are.
_P_VALUES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """Holds the counters, gauges and histograms of one gateway."""

    def __init__(self) -> None:
        disable_created_metrics()  # a series beside each counter, which nothing reads. It holds for the whole process
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "avizor_requests", "Finished calls, by gRPC status code.", ["rpc", "model", "code"], registry=self.registry
        )
        self.duration = Histogram(
            "avizor_request_duration_seconds",
            "Time from a call's arrival to its answer, in seconds.",
            ["rpc", "model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("avizor_in_flight_requests", "Calls being served now.", registry=self.registry)
        self.streams = Gauge("avizor_streams", "Streams (Monitor) in progress.", registry=self.registry)
        self.rejected = Counter(
            "avizor_rejected",
            "Calls rejected before any computation: full, bytes, size, wait, decoders, streams, explanations, rate, "
            "unauthenticated; unknown, there is no such RPC, path or method; over HTTP also malformed, origin and host, of web "
            "pages that may not call.",
            ["reason"],
            registry=self.registry,
        )
        self.items = Counter(
            "avizor_items", "Items of calls that were admitted, whatever became of them.", ["model"], registry=self.registry
        )
        self.item_errors = Counter(
            "avizor_item_errors",
            "Items answered with an error: media, they cannot be decoded; request, they are not what the model takes; decoder, "
            "their decoder ended; engine, the graph fails at them; internal.",
            ["model", "reason"],
            registry=self.registry,
        )
        self.decoders_ended = Counter(
            "avizor_decoders_ended",
            "Decoder processes that ended and were replaced: time, an item took too long; crash; forsaken, an item went on "
            "after its caller had left.",
            ["reason"],
            registry=self.registry,
        )
        self.decoder_memory = Gauge(
            "avizor_decoder_resident_memory_bytes",
            "Memory of all processes that decode media, in bytes; on Linux.",
            registry=self.registry,
        )
        self.log_lines_dropped = Counter(
            "avizor_log_lines_dropped",
            "Lines of the log that were not written: nobody reads it fast enough, or its disk is full.",
            registry=self.registry,
        )
        self.rows_in_progress = Gauge(
            "avizor_rows_in_progress",
            "Rows that wait or run. Items that are not decoded yet do not count.",
            ["model"],
            registry=self.registry,
        )
        self.rows_per_second = Gauge(
            "avizor_rows_per_second",
            "Rows done in a second of work, measured over the last seconds of work; 0 until it is known.",
            ["model"],
            registry=self.registry,
        )
        self.scored = Counter(
            "avizor_items_scored",
            "Items, and stretches of streams, scored against a calibration.",
            ["model", "source"],
            registry=self.registry,
        )
        self.clipped = Counter(
            "avizor_items_clipped",
            "Recordings and streams with samples beyond full scale, which were clipped to -1..1.",
            ["model"],
            registry=self.registry,
        )
        self.not_judged = Counter(
            "avizor_items_not_judged",
            "Items that are not judged: the calibration has too few of their kind, such as recordings shorter than a window.",
            ["model", "source"],
            registry=self.registry,
        )
        self.anomalies = Counter(
            "avizor_anomalies",
            "Items flagged at the gateway's own alpha, whatever alpha the caller asked for.",
            ["model", "source"],
            registry=self.registry,
        )
        self.alarms = Counter(
            "avizor_alarms",
            "Alarms of streams (Monitor) that began, at what their clients asked for.",
            ["model", "source"],
            registry=self.registry,
        )
        self.flagged_kept = Counter(
            "avizor_flagged_kept", "Flagged items that were kept (--keep-flagged).", ["model"], registry=self.registry
        )
        self.flagged_dropped = Counter(
            "avizor_flagged_dropped",
            "Flagged items that were to be kept and are not: full, too many wait to be written; size, it is too large; disk, "
            "the folder cannot be written; item, it cannot be made a file.",
            ["reason"],
            registry=self.registry,
        )
        self.kept_removed = Counter(
            "avizor_kept_removed",
            "Kept items that were removed: age, they are too old; bytes, the folder is full.",
            ["reason"],
            registry=self.registry,
        )
        self.kept_bytes = Gauge(
            "avizor_kept_bytes",
            "Size of the folder of flagged items when it was last looked at, in bytes.",
            registry=self.registry,
        )
        self.keep_ok = Gauge(
            "avizor_keep_ok",
            "0 while flagged items are to be kept, and the folder cannot be used. The log says why.",
            registry=self.registry,
        )
        self.review_info = Gauge(
            "avizor_review_info",
            "1 for the address at which people see what is kept (--review-url).",
            ["url"],
            registry=self.registry,
        )
        self.alert_alpha = Gauge(
            "avizor_alert_alpha",
            "Share of false alarms that avizor_anomalies_total is counted at.",
            ["model"],
            registry=self.registry,
        )
        self.p_value = Histogram(
            "avizor_anomaly_p_value",
            "p-values of scored items; uniform if nothing is wrong.",
            ["model"],
            buckets=_P_VALUES,
            registry=self.registry,
        )
        self.drift = Gauge(
            "avizor_drift_log_martingale",
            "Evidence that the scores of a source have drifted away from its calibration, to larger or smaller ones: natural "
            "logarithm of a test martingale; 0 is none, and beyond 30 it is no chance. Of several workers the largest.",
            ["model", "source"],
            registry=self.registry,
        )
        self.calibration_info = Gauge(
            "avizor_calibration_info", "1 for the calibration in use.", ["model", "calibration_id"], registry=self.registry
        )
        self.calibration_created = Gauge(
            "avizor_calibration_created_timestamp_seconds",
            "When the calibration in use was made, in seconds since 1970.",
            ["model"],
            registry=self.registry,
        )
        self.certificate_ends = Gauge(
            "avizor_certificate_expiry_timestamp_seconds",
            "When the first certificate of a file of TLS expires, in seconds since 1970: certificate, client_ca.",
            ["file"],
            registry=self.registry,
        )
        self.engine_up = Gauge(
            "avizor_engine_up", "1 while the engine takes requests, 0 while it is away.", ["engine"], registry=self.registry
        )
        self.reload_ok = Gauge(
            "avizor_reload_ok",
            "1 if the files of this part (models, tokens, ...) could be read when they were last looked at; 0 if what was in "
            "use before still is.",
            ["part"],
            registry=self.registry,
        )
        self.reload_failures = Counter(
            "avizor_reload_failures", "Reloads that failed, on SIGHUP or by time.", ["part"], registry=self.registry
        )
        self.model_up = Gauge(
            "avizor_model_up",
            "1 for a model of the repository that is served, 0 for one of which no version can be.",
            ["model"],
            registry=self.registry,
        )
        self.version_refused = Gauge(
            "avizor_version_refused",
            "1 for a version on disk, or a new calibration of it, that is not used because something is wrong with it; "
            "version 0 for a whole model, or a folder that is none. The log says why.",
            ["model", "version"],
            registry=self.registry,
        )


# How the gauges of several workers (--workers) become one of the whole gateway; of any other the largest counts.
GAUGES_OF_WORKERS: Mapping[str, Callable[[list[float]], float]] = {
    "avizor_in_flight_requests": sum,
    "avizor_streams": sum,
    "avizor_rows_in_progress": sum,
    "avizor_rows_per_second": sum,
    "avizor_decoder_resident_memory_bytes": sum,
    "avizor_review_info": max,
    "avizor_keep_ok": min,
    "avizor_kept_bytes": max,
    "avizor_alert_alpha": max,
    "avizor_drift_log_martingale": max,
    "avizor_calibration_info": max,
    "avizor_calibration_created_timestamp_seconds": max,
    "avizor_certificate_expiry_timestamp_seconds": min,
    "avizor_engine_up": min,
    "avizor_reload_ok": min,
    "avizor_model_up": min,
    "avizor_version_refused": max,
}


class WorkerMetrics:
    """Holds what the first process of several (--workers) says of the others."""

    def __init__(self) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self.workers = Gauge("avizor_workers", "Workers that serve. With --workers over 1.", registry=self.registry)
        self.ended = Counter(
            "avizor_workers_ended",
            "Workers that ended and were replaced: stopped, one was told to end; crash. With --workers over 1.",
            ["reason"],
            registry=self.registry,
        )
        for reason in ("stopped", "crash"):
            self.ended.labels(reason)  # a rate misses the first event of a series that begins with it


def metric_names() -> frozenset[str]:
    """Return the names as they are exposed, without the suffixes of histograms: what rules and dashboards may use."""
    metrics = [*Metrics().registry.collect(), *WorkerMetrics().registry.collect()]
    return frozenset(metric.name + ("_total" if metric.type == "counter" else "") for metric in metrics)

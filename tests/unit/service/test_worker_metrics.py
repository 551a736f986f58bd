"""The gauges of several workers as those of one gateway."""

from __future__ import annotations

from prometheus_client import enable_created_metrics

from avizor_service.metrics import GAUGES_OF_WORKERS, Metrics, WorkerMetrics
from avizor_service.workers.gauges import merged, snapshot


def test_each_gauge_says_how_those_of_several_workers_become_one() -> None:
    gauges = {family.name for family in Metrics().registry.collect() if family.type == "gauge"}
    assert {name for name in gauges if not name.startswith("process_")} == set(GAUGES_OF_WORKERS)


def test_gauges_are_added_up_or_the_least_counts_and_processes_stay_apart() -> None:
    workers = {1: Metrics(), 2: Metrics()}
    for number, metrics in workers.items():
        metrics.streams.set(number)
        metrics.engine_up.labels("ort").set(number - 1)
        metrics.calibration_created.labels("fan").set(100 * number)
        metrics.requests.labels("Classify", "digits", "OK").inc()
    families = merged({number: snapshot(metrics.registry) for number, metrics in workers.items()})
    samples = {(each.name, tuple(each.labels.values())): each.value for family in families for each in family.samples}
    assert samples["avizor_streams", ()] == 3
    assert samples["avizor_engine_up", ("ort",)] == 0
    assert samples["avizor_calibration_created_timestamp_seconds", ("fan",)] == 200
    assert samples["process_resident_memory_bytes", ("1",)] > 0
    assert samples["process_cpu_seconds_total", ("2",)] > 0
    assert not any(name.startswith("avizor_requests") for name, _ in samples)  # counters are in files


def test_the_first_process_counts_from_0_and_tells_no_times_of_creation() -> None:
    enable_created_metrics()  # as in a process that has made no other metrics
    samples = {
        (each.name, *each.labels.values()): each.value for one in WorkerMetrics().registry.collect() for each in one.samples
    }
    assert samples == {
        ("avizor_workers",): 0,
        ("avizor_workers_ended_total", "crash"): 0,
        ("avizor_workers_ended_total", "stopped"): 0,
    }

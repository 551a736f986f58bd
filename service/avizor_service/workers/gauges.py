"""Put the gauges of several workers together. Each is read when the metrics of the whole are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from avizor_service.metrics import GAUGES_OF_WORKERS

# What is said of a process stays apart: there is no such thing as the start time of several.
_OF_PROCESS = ("process_", "python_")
_WORKER = "worker"

# name, documentation, type, and samples of [name, labels, value]
Family = list[Any]


def snapshot(registry: CollectorRegistry) -> list[Family]:
    """Return the gauges of a process, and all that is said of the process, as JSON. Counters and histograms are in files."""
    return [
        [
            family.name,
            family.documentation,
            family.type,
            [[sample.name, sample.labels, sample.value] for sample in family.samples],
        ]
        for family in registry.collect()
        if family.type == "gauge" or family.name.startswith(_OF_PROCESS)
    ]


def merged(snapshots: Mapping[int, Iterable[Family]]) -> list[Metric]:
    """Return the gauges of the whole, from those of each worker, by its number."""
    metrics: dict[str, Metric] = {}
    values: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[float]] = {}
    for worker, families in snapshots.items():
        for family, documentation, kind, samples in families:
            metrics.setdefault(family, Metric(family, documentation, kind))
            for name, labels, value in samples:
                if family.startswith(_OF_PROCESS):
                    labels = labels | {_WORKER: str(worker)}
                values.setdefault((family, name, tuple(labels.items())), []).append(value)
    for (family, name, labels), of_workers in values.items():
        metrics[family].add_sample(name, dict(labels), GAUGES_OF_WORKERS.get(family, max)(of_workers))
    return list(metrics.values())

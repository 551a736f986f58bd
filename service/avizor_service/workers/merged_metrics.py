"""Show the metrics of all workers as those of one gateway.

Counters and histograms are in files that the workers have in memory, by prometheus_client's multiprocess mode: nothing that a
worker has counted is lost when it is killed. Gauges are asked of the workers that live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from avizor_service.workers.gauges import Family, merged


class MergedMetrics(Collector):
    """Collects the metrics of workers. folder: of their files. gauges(): returns the gauges of each worker, by its number."""

    def __init__(self, folder: Path, gauges: Callable[[], Mapping[int, Iterable[Family]]]) -> None:
        self._folder, self._gauges = folder, gauges

    def collect(self) -> Iterable[Metric]:
        """Return all metrics of the whole."""
        files = chain(self._folder.glob("counter_*.db"), self._folder.glob("histogram_*.db"))
        there = [str(file) for file in files if file.stat().st_size]  # one that is just being made is empty
        yield from MultiProcessCollector.merge(there)
        yield from merged(self._gauges())

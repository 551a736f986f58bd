"""Open the runner of a job by its name: `local`, or `ray`. This is the one place that names both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from avizor_inference.errors import SettingsError
from avizor_inference.this_machine import usable_cores
from avizor_pipeline.engine_wait import ENGINE_WAIT_S
from avizor_pipeline.runners.base import SizedRunner
from avizor_pipeline.runners.local import FILE_TIMEOUT_S, LocalRunner

LOCAL, RAY = "local", "ray"


@dataclass(frozen=True)
class RunnerOptions:
    """Holds where a job is run. name: LOCAL or RAY. address: of a Ray cluster. workers: None: one for each core there is."""

    name: str = LOCAL
    address: str | None = None
    workers: int | None = None
    file_timeout_s: float = FILE_TIMEOUT_S
    engine_wait_s: float = ENGINE_WAIT_S

    @property
    def here(self) -> LocalRunner:
        """Return the runner of this machine."""
        return LocalRunner(self.workers or usable_cores(), self.file_timeout_s, self.engine_wait_s)


@contextmanager
def open_runner(options: RunnerOptions, on_lost: Callable[[], None]) -> Iterator[SizedRunner]:
    """Yield a runner. on_lost: see ray_cluster. Raises SettingsError if there is no Ray, or no cluster."""
    if options.name == LOCAL:
        if options.address:
            raise SettingsError("--ray-address is for --runner ray; give both, or none")
        yield options.here
        return
    from avizor_pipeline.runners.ray import RayRunner
    from avizor_pipeline.runners.ray_cluster import ray_cluster

    with ray_cluster(options.address, options.workers or usable_cores(), on_lost) as cluster:
        yield RayRunner(cluster, options.workers, options.file_timeout_s, options.engine_wait_s)

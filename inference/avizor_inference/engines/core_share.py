"""Share the cores of this machine between the runs of a model that go on at once and the threads of each."""

from __future__ import annotations

from dataclasses import dataclass

from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_inference.repository.triton_config import instance_count, intra_op_threads
from avizor_inference.this_machine import usable_cores


@dataclass(frozen=True)
class CoreShare:
    """Says how a model uses the cores: so many runs at once, each with so many threads."""

    runs: int
    threads: int


def core_share(config: ModelConfig, *, on_gpu: bool = False, cores: int | None = None) -> CoreShare:
    """Return how many runs of a model go on at once, and with how many threads, when many callers share the cores.

    What config.pbtxt sets is kept: `intra_op_thread_count`, and more than one instance. What it does not set is chosen so that
    there is a thread for each core, by preference a run of one thread for each: that has the most rows/s (decision 28). A
    GPU runs as many batches at once as there are instances. cores: those to share; None for all that this process may use.
    """
    instances, threads, cores = instance_count(config), intra_op_threads(config), cores or usable_cores()
    if on_gpu:
        return CoreShare(instances, threads)
    if instances > 1:
        return CoreShare(instances, threads or max(1, cores // instances))
    return CoreShare(max(1, cores // (threads or 1)), threads or 1)

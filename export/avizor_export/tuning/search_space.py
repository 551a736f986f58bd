"""Which candidates `avizor tune` measures: the values that were given, or else what is usual here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from avizor_export.triton_config.settings import ServingSettings
from avizor_export.tuning.candidates import Candidate
from avizor_inference.errors import ExportError

Numbers = Sequence[int]
# A candidate's group: those that one opening of the model serves.
CandidateGroups = list[list[Candidate]]

_BATCHES = (1, 8, 32)
_TRITON_INSTANCES = (1, 2)
_QUEUE_DELAYS_US = (0, 500, 2000)
_CLIENTS = (1, 8, 32)


@dataclass(frozen=True)
class SearchSpace:
    """The values to try, each empty where they were not given."""

    batch: Numbers = ()
    threads: Numbers = ()
    instances: Numbers = ()
    queue_delay_us: Numbers = ()
    clients: Numbers = ()


def embedded_groups(grid: SearchSpace, now: ServingSettings) -> CandidateGroups:
    """Batch sizes up to the model's, and instances x threads that this machine has cores for. Raises ExportError if none is."""
    if grid.queue_delay_us or grid.clients:
        raise ExportError("--queue-delay-us and --clients are for a Triton (--engine triton://HOST:PORT)")
    if 0 in grid.batch:
        raise ExportError("--batch 0: a call has at least one row")
    cores = available_cores()
    _within(grid.batch, now.max_batch_size)
    batches = grid.batch or sorted({size for size in _BATCHES if size < now.max_batch_size} | {now.max_batch_size})
    threads, instances = grid.threads or _powers_of_two(cores), grid.instances or _powers_of_two(cores)
    groups = []
    for each in threads:
        fitting = [count for count in instances if count * max(each, 1) <= cores]
        if fitting:
            groups.append([Candidate(count, each, batch, clients=count) for count, batch in product(fitting, batches)])
    if not groups:
        raise ExportError(f"no instances x threads of those given fit the {cores} cores here; give smaller ones")
    return groups


def triton_groups(grid: SearchSpace, now: ServingSettings) -> CandidateGroups:
    """Instances x queue delays (x threads x preferred batch sizes, if given), each under several numbers of clients."""
    _within(grid.batch, now.max_batch_size)
    preferred: list[tuple[int, ...]] = [(size,) if size else () for size in grid.batch]
    ways = product(
        grid.instances or _TRITON_INSTANCES,
        grid.threads or (now.intra_op_threads,),
        preferred or [now.preferred_batch_sizes],
        grid.queue_delay_us or _QUEUE_DELAYS_US,
    )
    clients = grid.clients or _CLIENTS
    return [
        [Candidate(instances, threads, 1, callers, delay, sizes) for callers in clients]
        for instances, threads, sizes, delay in ways
    ]


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _within(batches: Numbers, most: int) -> None:
    if batches and max(batches) > most:
        raise ExportError(f"batch {max(batches)} is over the model's max_batch_size {most}; export it with a larger one")


def _powers_of_two(most: int) -> list[int]:
    return [2**power for power in range(most.bit_length())]

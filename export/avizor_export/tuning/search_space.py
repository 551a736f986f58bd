"""Choose the candidates that `avizor tune` measures: from the values that the user gave, or else from defaults."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product

from avizor_export.triton_config.settings import ServingSettings
from avizor_export.tuning.candidates import Candidate
from avizor_inference.errors import ExportError
from avizor_inference.repository.triton_config import EnginesHere
from avizor_inference.this_machine import usable_cores

Numbers = Sequence[int]
# Candidates in groups: all candidates of a group are measured while the model is loaded once.
CandidateGroups = list[list[Candidate]]

_BATCHES = (1, 8, 32)
_TRITON_INSTANCES = (1, 2)
_QUEUE_DELAYS_US = (0, 500, 2000)
_CLIENTS = (1, 8, 32)


@dataclass(frozen=True)
class SearchSpace:
    """Hold the values to try; empty for a setting that the user did not give."""

    batch: Numbers = ()
    threads: Numbers = ()
    instances: Numbers = ()
    queue_delay_us: Numbers = ()
    clients: Numbers = ()


def embedded_groups(
    space: SearchSpace, settings: ServingSettings, engines: Sequence[EnginesHere], on_gpu: Collection[EnginesHere] = ()
) -> CandidateGroups:
    """Return candidates for engines in this process: each with batch sizes x instances x threads that fit the cores.

    settings: the model's. on_gpu: engines that run it on a GPU, where CPU threads change nothing: they are left to the engine
    if the user gave none. Raises ExportError for values that do not fit the model, the engine or the cores.
    """
    if space.queue_delay_us or space.clients:
        raise ExportError("--queue-delay-us and --clients are for a Triton (--engine triton://HOST:PORT)")
    if 0 in space.batch:
        raise ExportError("--batch 0: a call has at least one row")
    cores = usable_cores()
    _check_batches(space.batch, settings.max_batch_size)
    batches = space.batch or sorted({size for size in _BATCHES if size < settings.max_batch_size} | {settings.max_batch_size})
    instances = space.instances or _powers_of_two(cores)
    threads = [
        (engine, count) for engine in engines for count in space.threads or ([0] if engine in on_gpu else _powers_of_two(cores))
    ]
    groups = []
    for engine, count in threads:
        fitting = [copies for copies in instances if copies * max(count, 1) <= cores]
        if fitting:
            pairs = product(fitting, batches)
            groups.append([Candidate(copies, count, batch, clients=copies, engine=engine) for copies, batch in pairs])
    if not groups:
        raise ExportError(f"no --instances x --threads fit the {cores} cores that this process may use; give smaller ones")
    return groups


def triton_groups(space: SearchSpace, settings: ServingSettings) -> CandidateGroups:
    """Return candidates for Triton: instances x threads x queue delays (x preferred batch sizes, if given) x clients.

    settings: the model's. Where it may run on a CPU, one thread is tried besides its own: others wait for work between runs
    without a pause, which takes cores from the server. Raises ExportError for a preferred batch size over max_batch_size.
    """
    _check_batches(space.batch, settings.max_batch_size)
    preferred: list[tuple[int, ...]] = [(size,) if size else () for size in space.batch]
    combinations = product(
        space.instances or _TRITON_INSTANCES,
        space.threads or _triton_threads(settings),
        preferred or [settings.preferred_batch_sizes],
        space.queue_delay_us or _QUEUE_DELAYS_US,
    )
    clients = space.clients or _CLIENTS
    return [
        [Candidate(instances, threads, 1, client_count, delay, sizes) for client_count in clients]
        for instances, threads, sizes, delay in combinations
    ]


def _triton_threads(settings: ServingSettings) -> Numbers:
    own = settings.intra_op_threads or 0
    return (own,) if own == 1 or settings.needs_gpu else (own, 1)


def _check_batches(batches: Numbers, limit: int) -> None:
    if batches and max(batches) > limit:
        raise ExportError(f"batch {max(batches)} is over the model's max_batch_size {limit}; export it with a larger one")


def _powers_of_two(limit: int) -> list[int]:
    return [2**power for power in range(limit.bit_length())]

"""Measure in a process like a worker what the models of a job and its largest files need. Nothing is guessed from a graph.

ONNX Runtime keeps the memory of its largest run, so batches are run from small to large. The process has a limit, so that
measuring never takes more than the job may.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection

import numpy as np

from avizor_inference.error_text import lacks_memory
from avizor_inference.items.dataset import Entry
from avizor_inference.items.decode import stream_rows
from avizor_pipeline.batching import Batcher
from avizor_pipeline.job_context import batches_in_flight
from avizor_pipeline.model_groups import ModelGroup, group_models
from avizor_pipeline.models import open_job_engine, open_models
from avizor_pipeline.process_memory import MemoryUse, forget_peak, limit_own, memory_use, prepare_limit
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sources.open_source import open_source

# Seconds for one step: a run of each model, or one file.
_STEP_S = 120.0

# Bytes of what needs more than there was.
MORE = 2**62

# Runs of each size. At the second run of a shape ONNX Runtime takes one block for all of it, besides what it has.
_RUNS = 3

# Items of a file of many that are decoded.
_ITEMS = 4


@dataclass
class Needs:
    """Holds what a worker needs, in bytes, besides pages of files.

    base: once the models are open. files: pages of libraries. rows: for batches of so many rows of each model, what they need
    besides; the batch size of a model is never exceeded. decoding: uri -> for one of the largest files; more than there was if
    that was not enough.
    """

    base: int = 0
    files: int = 0
    rows: dict[int, int] = field(default_factory=dict)
    decoding: dict[str, int] = field(default_factory=dict)


def measure(settings: JobSettings, sizes: Sequence[int], largest: Sequence[Entry], limit: int) -> Needs | None:
    """Measure a worker; None if there is not even enough to open the models.

    sizes: rows in a batch, ascending. largest: files to decode. limit: bytes that the process may have by itself.
    Raises what opening the models raises.
    """
    needs = _measured(settings, sizes, largest, limit)
    if needs and not needs.rows and largest:  # one of the files ended the process, or hung it: workers are replaced then
        needs = _measured(settings, sizes, (), limit)
    return needs


def _measured(settings: JobSettings, sizes: Sequence[int], largest: Sequence[Entry], limit: int) -> Needs | None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_probe, args=(theirs, settings, tuple(sizes), tuple(largest), limit), daemon=True)
    process.start()
    theirs.close()
    needs = None
    try:
        with suppress(EOFError):
            while ours.poll(_STEP_S):
                answer = ours.recv()
                if isinstance(answer, Exception):
                    raise answer
                needs = answer
    finally:
        process.kill()
        process.join()
        ours.close()
    return needs


# ---- in the process that is measured


def _probe(answers: Connection, settings: JobSettings, sizes: Sequence[int], largest: Sequence[Entry], limit: int) -> None:
    """Send what is known after each step. What libraries of C say about a lack of memory is dropped: it is expected here."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    prepare_limit()
    limit_own(limit)
    try:
        for needs in _steps(settings, sizes, largest):
            answers.send(needs)
    except Exception as error:
        if not lacks_memory(error):
            answers.send(error)


def _steps(settings: JobSettings, sizes: Sequence[int], largest: Sequence[Entry]) -> Iterator[Needs]:
    with open_job_engine(settings) as engine:
        groups = group_models(settings, engine, open_models(settings))
        in_flight = batches_in_flight(settings)
        for group in groups:
            group.engine.spec(group.name, group.version)  # opens it
        opened = memory_use()
        needs = Needs(base=opened.own_peak, files=opened.files)
        yield needs
        for entry in largest:
            before = _fresh()
            try:
                _decode(settings, groups, entry)
                needs.decoding[entry.uri] = _grown(before)
            except MemoryError:
                needs.decoding[entry.uri] = MORE
            yield needs
        before = _fresh()
        for size in sizes:
            for group in groups:
                sized = group.in_batches_of(size)
                _run(Batcher(sized, in_flight), sized, _RUNS * sized.batch_size * in_flight)
            needs.rows[size] = _grown(before)
            needs.files = max(needs.files, memory_use().files)
            yield needs


def _fresh() -> MemoryUse:
    forget_peak()
    return memory_use()


def _grown(before: MemoryUse) -> int:
    """Return by how much this process has grown. ONNX Runtime reserves more than it uses, and the limit counts that, too."""
    now = memory_use()
    return max(0, now.own_peak - before.own, now.reserved - before.reserved)


def _run(batcher: Batcher[None], group: ModelGroup, rows: int) -> None:
    tensor = group.spec.tensor_spec
    for _ in range(rows):  # ones: memory of zeros is not there before it is written to
        deque(batcher.push(None, np.ones(tensor.item_shape, tensor.dtype)), maxlen=0)
    deque(batcher.finish(), maxlen=0)


def _decode(settings: JobSettings, groups: Sequence[ModelGroup], entry: Entry) -> None:
    """Decode the first rows of a file, so many as wait for a batch. Raises MemoryError.

    What else is wrong with the file is seen when the job is run.
    """
    try:
        for _, content in islice(open_source(settings).open(entry), _ITEMS):
            takers = [group for group in groups if group.takes(content)]
            most = sum(group.batch_size for group in takers)
            rows = list(islice(stream_rows(content, [group.spec for group in takers]), most))
            del rows
    except Exception as error:
        if lacks_memory(error):
            raise MemoryError from error

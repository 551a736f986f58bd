"""Measure candidates in interleaved rounds, so that other load on the machine affects all of them alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from typing import Protocol

import numpy as np
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.tuning.candidates import Candidate, Measured, Round
from avizor_export.tuning.load_generator import Call, run_load
from avizor_inference.arrays import Items
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.engines.device import Device
from avizor_inference.engines.open_engine import OPENVINO
from avizor_inference.engines.openvino import OpenVinoEngine
from avizor_inference.engines.temporary_model import TIMEOUT_S, temporary_model
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import BATCH_PARAMETER, ENGINE_PARAMETER, THREADS_PARAMETER, stays_on_cpu
from avizor_inference.this_machine import usable_cores

ROUNDS = 3
_USUAL_SHAPES = "trt_profile_opt_shapes"


class OpenBench(Protocol):
    """Define a model that is loaded and can be called."""

    def call(self, candidate: Candidate) -> Call:
        """Return a function that sends one request to the model, with the candidate's number of rows."""


class Bench(Protocol):
    """Define what loads a model to measure candidates."""

    def open(self, candidate: Candidate) -> AbstractContextManager[OpenBench]:
        """Load the model for this candidate and all others of its group; unload it after the block."""


@dataclass(frozen=True)
class Subject:
    """Hold the model that is measured: its version, and raw items [n >= 1, *item_shape] to send."""

    version: ModelVersion
    items: Items

    @property
    def output(self) -> str:
        """Return the output to request, the first: probabilities of a classifier, score of an autoencoder, as in batch jobs."""
        return self.version.manifest.outputs[0].name

    @property
    def input(self) -> str:
        """Return the name of the input."""
        return self.version.manifest.input.tensor().name


def measure_candidates(
    groups: Sequence[Sequence[Candidate]], bench: Bench, seconds: float, on_candidate: Callable[[], None]
) -> list[Measured]:
    """Measure each candidate for `seconds` in total, in ROUNDS rounds, and return them in their order.

    groups: candidates that one opening of the bench serves. on_candidate: called after each round of a candidate.
    """
    rounds: dict[Candidate, list[Round]] = {candidate: [] for group in groups for candidate in group}
    for number in range(ROUNDS):
        for group in groups if number % 2 == 0 else list(reversed(groups)):
            with bench.open(group[0]) as opened:
                for candidate in group:
                    call = opened.call(candidate)
                    rounds[candidate].append(run_load(call, candidate.clients, candidate.batch, seconds / ROUNDS))
                    on_candidate()
    return [Measured(candidate, tuple(results)) for candidate, results in rounds.items()]


@dataclass(frozen=True)
class EmbeddedBench:
    """Measure on engines in this process, as batch jobs and the gateway use them, by calls of `batch` rows."""

    repository: ModelRepository
    subject: Subject
    device: Device

    @contextmanager
    def open(self, candidate: Candidate) -> Iterator[OpenBench]:
        """Load the model with the candidate's engine and threads."""
        with self._engine(candidate) as engine:
            yield _OpenEmbedded(engine, self.subject)

    def _engine(self, candidate: Candidate) -> Engine:
        threads = candidate.threads
        if candidate.engine not in OPENVINO:
            from avizor_inference.engines.embedded import EmbeddedEngine  # needs ONNX Runtime, without which a Triton is tuned

            return EmbeddedEngine(self.repository, device=self.device, intra_op_threads=threads)
        streams = max(1, usable_cores() // threads) if threads else 1
        precision = OPENVINO[candidate.engine]
        return OpenVinoEngine(self.repository, precision=precision, intra_op_threads=threads, streams=streams)


@dataclass(frozen=True)
class _OpenEmbedded:
    engine: Engine
    subject: Subject

    def call(self, candidate: Candidate) -> Call:
        version, items = self.subject.version, self.subject.items
        inputs = {self.subject.input: np.resize(items, (candidate.batch, *items.shape[1:]))}
        request = InferRequest(version.name, inputs, [self.subject.output], version=version.version)
        return lambda: self.engine.infer(request)


@dataclass(frozen=True)
class TritonBench:
    """Measure on the live Triton at host:port `address`, by calls of one row, which its batcher combines.

    name: of the model there, as `temporary_name` returns.
    """

    address: str
    subject: Subject
    name: str

    @cached_property
    def _model(self) -> bytes:
        return self.subject.version.model_path.read_bytes()

    @contextmanager
    def open(self, candidate: Candidate) -> Iterator[OpenBench]:
        """Load the model with the candidate's configuration, and unload it afterwards."""
        config = with_candidate(self.subject.version.config, candidate)
        with (
            temporary_model(self.address, self._model, config, self.name),
            TritonEngine(self.address) as engine,
        ):
            yield _OpenTriton(engine, self.subject, self.name)


@dataclass(frozen=True)
class _OpenTriton:
    engine: TritonEngine
    subject: Subject
    name: str

    def call(self, candidate: Candidate) -> Call:
        items = cycle([{self.subject.input: item[None]} for item in self.subject.items])
        outputs = [self.subject.output]
        return lambda: self.engine.infer(InferRequest(self.name, next(items), outputs, timeout_s=TIMEOUT_S))


def with_candidate(config: ModelConfig, candidate: Candidate) -> ModelConfig:
    """Return a copy of the configuration with the candidate's values; all other fields are unchanged.

    A measurement in this process says nothing about a server's batching, so preferred batch sizes are left unchanged (a
    preferred size of 1 would end batching). It says something about instances only if they run on the CPU.
    """
    changed = ModelConfig()
    changed.CopyFrom(config)
    if sets_instances(config, candidate):
        group = changed.instance_group[0] if changed.instance_group else changed.instance_group.add()
        group.count = candidate.instances
    if candidate.threads:
        changed.parameters[THREADS_PARAMETER].string_value = str(candidate.threads)
    elif THREADS_PARAMETER in changed.parameters:
        del changed.parameters[THREADS_PARAMETER]
    if candidate.queue_delay_us is None:
        changed.parameters[BATCH_PARAMETER].string_value = str(candidate.batch)
        if candidate.engine:
            changed.parameters[ENGINE_PARAMETER].string_value = candidate.engine
        return changed
    changed.dynamic_batching.max_queue_delay_microseconds = candidate.queue_delay_us
    if set(changed.dynamic_batching.preferred_batch_size) != set(candidate.preferred):
        _set_preferred(changed, candidate.preferred)
    return changed


def _set_preferred(config: ModelConfig, sizes: Sequence[int]) -> None:
    """Set the preferred batch sizes, and the batch size that TensorRT optimises for."""
    config.dynamic_batching.preferred_batch_size[:] = sizes
    for accelerator in config.optimization.execution_accelerators.gpu_execution_accelerator:
        if _USUAL_SHAPES in accelerator.parameters:
            shapes = accelerator.parameters[_USUAL_SHAPES]
            accelerator.parameters[_USUAL_SHAPES] = re.sub(r":\d+x", f":{max(sizes, default=config.max_batch_size)}x", shapes)


def sets_instances(config: ModelConfig, candidate: Candidate) -> bool:
    """Tell whether the candidate's instances apply to a server: measured on one, or the model runs only on the CPU."""
    return candidate.queue_delay_us is not None or stays_on_cpu(config)

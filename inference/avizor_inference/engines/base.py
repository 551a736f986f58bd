"""The seam: what an engine is. Everything above it (batch, gateway, export's own checks) knows this and nothing below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.errors import BatchTooLarge, InvalidInput, UnknownOutput
from avizor_inference.items.inputs import TensorSpec


@dataclass(frozen=True)
class ModelSpec:
    """What an engine serves under one name: tensors by name, each with the shape of one item, and the largest batch."""

    name: str
    version: int
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    max_batch_size: int
    sha256: str


class Engine(Protocol):
    """Runs the models of a repository. Safe to call from several threads. Close it, or use it as a context manager."""

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        """What `model` takes and gives; the newest version unless one is named. Raises ModelNotFound, VersionRefused."""

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Run one batch: arrays of shape [batch, *item_shape] in, the named outputs out, in the order of the batch.

        Raises InvalidInput, UnknownOutput, BatchTooLarge for a request that is wrong, ModelNotFound, VersionRefused,
        DeadlineExceeded if there is no answer within `timeout_s` seconds, EngineUnavailable if the engine is away.
        """

    def submit(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> Future[dict[str, Array]]:
        """Like infer, without waiting, so that several requests may be in flight.

        What is wrong with the request itself is raised here; what goes wrong later, by the future's result().
        """

    def ready(self, timeout_s: float = 1.0) -> bool:
        """Whether a request would be taken now."""

    def close(self) -> None:
        """Let go of every model. Calls after this raise EngineUnavailable."""

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exc: object) -> None: ...


def check_request(spec: ModelSpec, inputs: Mapping[str, Array], outputs: Sequence[str]) -> int:
    """Hold a request against what the model takes; return the batch size. Every engine refuses by these same rules.

    Raises InvalidInput, UnknownOutput or BatchTooLarge with a message that names the tensor and what it should be.
    """
    for name in inputs:
        if name not in spec.inputs:
            raise InvalidInput(f"model {spec.name!r} has no input {name!r}; it takes {_names(spec.inputs)}", field=name)
    for name in spec.inputs:
        if name not in inputs:
            raise InvalidInput(f"input {name!r} of model {spec.name!r} is missing", field=name)
    if not outputs:
        raise UnknownOutput(f"no output was asked for; model {spec.name!r} has {_names(spec.outputs)}", field="outputs")
    for name in outputs:
        if name not in spec.outputs:
            raise UnknownOutput(f"model {spec.name!r} has no output {name!r}; it has {_names(spec.outputs)}", field=name)
    sizes = {name: _check_tensor(spec.inputs[name], array) for name, array in inputs.items()}
    if len(set(sizes.values())) > 1:
        raise InvalidInput(f"the inputs of model {spec.name!r} differ in batch size: {sizes}", field=next(iter(sizes)))
    batch = next(iter(sizes.values()))
    if batch > spec.max_batch_size:
        raise BatchTooLarge(
            f"a batch of {batch} is over the {spec.max_batch_size} that model {spec.name!r} takes; send it in parts",
            field=next(iter(sizes)),
        )
    return batch


def _check_tensor(expected: TensorSpec, array: Array) -> int:
    if not isinstance(array, np.ndarray):
        raise InvalidInput(f"input {expected.name!r} is a {type(array).__name__}; give a numpy array", field=expected.name)
    wanted = f"{expected.dtype}[batch, {', '.join(map(str, expected.item_shape))}]"
    if array.dtype != np.dtype(expected.dtype):
        raise InvalidInput(f"input {expected.name!r} has dtype {array.dtype}; give {wanted}", field=expected.name)
    if array.shape[1:] != expected.item_shape or array.ndim != len(expected.item_shape) + 1:
        raise InvalidInput(f"input {expected.name!r} has shape {list(array.shape)}; give {wanted}", field=expected.name)
    if len(array) == 0:
        raise InvalidInput(f"input {expected.name!r} holds no items; give at least one", field=expected.name)
    return len(array)


def _names(tensors: Mapping[str, TensorSpec]) -> str:
    return ", ".join(tensors) or "none"

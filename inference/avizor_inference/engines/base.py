"""Define what an engine is. The batch job, the gateway and export's checks know this interface, and nothing below it."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.errors import BatchTooLarge, DeadlineExceeded, EngineMismatch, InvalidInput, UnknownOutput, VersionRefused
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.calibration import EngineClass, EngineKind, RunPrecision
from avizor_inference.repository.models import ModelVersion


@dataclass(frozen=True)
class ModelSpec:
    """Describes what an engine serves under one name: tensors by name, each with the shape of one item, and the largest batch.

    sha256: of the version's model.onnx; empty if the engine does not know it. engine_class: what computes the model.
    precision: in which it does so; None means that of the graph, which the manifest names.
    """

    name: str
    version: int
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    max_batch_size: int
    sha256: str
    engine_class: EngineClass
    precision: RunPrecision | None = None


@dataclass(frozen=True, eq=False)
class InferRequest:
    """Holds one batch for one model.

    inputs: arrays of shape [batch, *item_shape] by name, one for each input of the model.
    outputs: names of the wanted outputs, at least one; only they are computed and returned.
    version: None means the newest.
    timeout_s: longest time until the answer, in seconds, time in queues included; None sets no limit.
    request_id, traceparent: what a server is told of the caller, for its log and its traces; empty for nothing.
    """

    model: str
    inputs: Mapping[str, Array]
    outputs: Sequence[str]
    version: int | None = None
    timeout_s: float | None = None
    request_id: str = ""
    traceparent: str = ""


class Engine(ABC):
    """Runs the models of a repository. Safe to call from several threads. Close it, or use it as a context manager.

    An engine that wraps another one implements the four abstract methods; the rest follows from them.

    answers_on_loop: whether `infer_on_loop` costs less than `submit` to those who wait on an event loop.
    """

    answers_on_loop: ClassVar[bool] = False

    @abstractmethod
    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        """Return the tensors and limits of `model`, of its newest version by default.

        Raises ModelNotFound, VersionRefused, EngineUnavailable.
        """

    @abstractmethod
    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        """Start one batch without waiting for it, so that several requests can run at once.

        A request that is wrong in itself raises here, as in infer. Later failures are raised by the future's result().
        """

    async def infer_on_loop(self, request: InferRequest) -> dict[str, Array]:
        """Run one batch for a caller on an event loop, which goes on meanwhile. See `infer`.

        It is for small requests and answers: they are written and read on the loop.
        """
        return await asyncio.wrap_future(self.submit(request))

    def infer_light(self, requests: Sequence[InferRequest], waited_s: float = 0.0) -> list[dict[str, Array]] | None:
        """Return the answer to each request, run here and now, if that is known to take no longer than to hand it to a thread.

        requests: one, or several for one version and the same outputs, which share a run. waited_s: seconds that they have
        waited for each other, all added up. None: they were not run, or failed. Several may then run one by one; one has to be
        submitted. Never raises.
        """
        return None

    def cancelled_light(self, request: InferRequest, waited_s: float) -> None:
        """Count a request that was cancelled while it waited for others to share a light run. waited_s: seconds until then."""
        return

    def shares_light_runs(self, model: str, version: int | None = None) -> bool:
        """Return whether several light requests for a version may wait for each other, to share a run."""
        return False

    def statistics(self, model: str = "", version: int | None = None) -> list[Any]:
        """Return what was run as messages `ModelStatistics` of Triton's protocol: one for each version that was used.

        model: empty for all; version: None for all. An engine that counts nothing returns none. Raises EngineUnavailable,
        ModelNotFound.
        """
        return []

    def loaded(self, model: str) -> list[int] | None:
        """Return the versions that the engine has loaded, ascending, at least one; None if it loads any when it is asked to.

        It looks anew: the last one is the newest from now on. Raises ModelNotFound, VersionRefused, EngineUnavailable.
        """
        return None

    def unload(self, model: str, version: int) -> None:  # noqa: B027 - an engine that holds nothing has nothing to do
        """Free what the engine holds for a version that nobody uses. Runs that go on end well; a later request loads anew."""

    @abstractmethod
    def ready(self, timeout_s: float = 1.0) -> bool:
        """Return whether a request would be accepted now."""

    @abstractmethod
    def close(self) -> None:
        """Release every model. Later calls raise EngineUnavailable."""

    def infer(self, request: InferRequest) -> dict[str, Array]:
        """Run one batch. Return the requested outputs by name, in that order; rows are in the order of the batch.

        Raises InvalidInput, UnknownOutput, BatchTooLarge for a wrong request, ModelNotFound, VersionRefused,
        DeadlineExceeded if there is no answer within `timeout_s` seconds, EngineUnavailable if the engine cannot be reached.
        """
        return self.submit(request).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def check_request(spec: ModelSpec, request: InferRequest) -> int:
    """Compare a request with what the model takes; return the batch size. Every engine refuses by these same rules.

    Raises InvalidInput, UnknownOutput or BatchTooLarge with a message that names the tensor and what it should be.
    """
    inputs, outputs = request.inputs, request.outputs
    for name in inputs:
        if name not in spec.inputs:
            raise InvalidInput(f"model {spec.name!r} has no input {name!r}; it takes {_names(spec.inputs)}", field=name)
    for name in spec.inputs:
        if name not in inputs:
            raise InvalidInput(f"input {name!r} of model {spec.name!r} is missing", field=name)
    if not outputs:
        raise UnknownOutput(f"no output was requested; model {spec.name!r} has {_names(spec.outputs)}", field="outputs")
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


def check_batch_size(most: int, where: str) -> None:
    """Raise VersionRefused for a max_batch_size that leaves no room for one item. where: what says so, for the message.

    A config.pbtxt without this field has 0, such as an empty file.
    """
    if most < 1:
        raise VersionRefused(f"{where}: max_batch_size is {most}; it has to be at least 1: correct it, or export again")


def check_input(spec: ModelSpec, version: ModelVersion) -> None:
    """Raise VersionRefused unless the engine takes the tensor that the version describes, and no other."""
    wanted = version.manifest.input.tensor().name
    if list(spec.inputs) != [wanted]:
        raise VersionRefused(
            f"the engine has {version.name!r} version {version.version} with the inputs {_names(spec.inputs)}, and its "
            f"manifest has {wanted}; see whether the engine serves this repository, and export the model again if it does"
        )


def check_same_digest(spec: ModelSpec, version: ModelVersion) -> None:
    """Raise VersionRefused if the engine serves another model.onnx than the repository has; unknown digests pass.

    Raises what `check_input` raises, too.
    """
    expected = version.manifest.model_sha256
    if spec.sha256 not in ("", expected):
        raise VersionRefused(
            f"the engine serves another {version.name!r} version {version.version} (sha256 {spec.sha256[:12]}...) than "
            f"{version.folder} ({expected[:12]}...); reload the model there, or use the repository that the engine serves"
        )
    check_input(spec, version)


def check_unchanged(spec: ModelSpec, opened: ModelSpec) -> None:
    """Raise EngineMismatch unless a version is the model that it was when it was opened; unknown digests pass.

    spec: what the engine says of it now.
    """
    what = ""
    for kind, now, before in (("output", spec.outputs, opened.outputs), ("input", spec.inputs, opened.inputs)):
        for name in (*now, *before):
            if now.get(name) != before.get(name):
                is_, was = (_wanted(each[name]) if name in each else "missing" for each in (now, before))
                what = f"{kind} {name!r} is {is_}, and was {was}"
    if not what and spec.sha256 and opened.sha256 not in ("", spec.sha256):
        what = f"its sha256 is {spec.sha256[:12]}..., and was {opened.sha256[:12]}..."
    if what:
        raise EngineMismatch(
            f"the engine has another model as {opened.name!r} version {opened.version} than when it was opened: {what}; load "
            "the earlier one again, or publish this one as a version of its own"
        )


def engine_kind(spec: ModelSpec, version: ModelVersion) -> EngineKind:
    """Return the class of the engine that serves a version, and the precision in which it computes it."""
    return EngineKind(spec.engine_class, spec.precision or version.manifest.precision)


def seconds_left(request: InferRequest, started: float) -> float | None:
    """Return what is left of the request's timeout, in seconds; None without one. started: time.monotonic() at its arrival.

    Raises DeadlineExceeded if nothing is left.
    """
    if request.timeout_s is None:
        return None
    left = request.timeout_s - (time.monotonic() - started)
    if left <= 0:
        raise DeadlineExceeded(f"the deadline of {request.timeout_s} s passed before model {request.model!r} started")
    return left


def _check_tensor(expected: TensorSpec, array: Array) -> int:
    if not isinstance(array, np.ndarray):
        raise InvalidInput(f"input {expected.name!r} is a {type(array).__name__}; give a numpy array", field=expected.name)
    if array.dtype != expected.dtype:
        raise InvalidInput(f"input {expected.name!r} has dtype {array.dtype}; give {_wanted(expected)}", field=expected.name)
    if array.shape[1:] != expected.item_shape or array.ndim != len(expected.item_shape) + 1:
        raise InvalidInput(
            f"input {expected.name!r} has shape {list(array.shape)}; give {_wanted(expected)}", field=expected.name
        )
    if len(array) == 0:
        raise InvalidInput(f"input {expected.name!r} holds no items; give at least one", field=expected.name)
    return len(array)


def _wanted(expected: TensorSpec) -> str:
    return f"{expected.dtype}[batch, {', '.join(map(str, expected.item_shape))}]"


def _names(tensors: Mapping[str, TensorSpec]) -> str:
    return ", ".join(tensors) or "none"

"""Define the settings of `config.pbtxt` that depend on the target and the load, not on the model.

docs/targets.md explains each default.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, TypedDict, get_args

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup, ModelQueuePolicy

from avizor_inference.errors import ExportError
from avizor_inference.repository.triton_config import (
    EnginesHere,
    call_batch_size,
    instance_count,
    intra_op_threads,
    tuned_engine,
)

Target = Literal["auto", "cpu", "gpu", "tensorrt"]
QueueTimeoutAction = Literal["reject", "delay"]

TENSORRT = "tensorrt"
KINDS: dict[Target, str] = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU", "tensorrt": "KIND_GPU"}
_LARGEST = 2**31 - 1

# Multiply-adds of an item: with 1.5 million a second thread cost a server on a CPU more than it gained, with 25 it did not
# (decision 99).
_SMALL = 2_000_000


@dataclass(frozen=True)
class ServingSettings:
    """Hold how a model is served. Raises ExportError, with the value, if a setting is not valid.

    target: `auto` is a GPU if the server has one, else the CPU; `gpu` is CUDA; `tensorrt` is a GPU through TensorRT.
    max_batch_size: most items in one run of the model.
    preferred_batch_sizes: sizes at which a batch runs without waiting for more items, ascending; if empty, only a full batch
        does.
    instances: copies of the model that run side by side (on each GPU, if there are several).
    queue_delay_us: longest time that a request waits for others to share a batch with, in microseconds.
    max_queue_size: most requests that may wait; more are rejected. 0 is no limit.
    queue_timeout_ms: longest time that a request may wait, in milliseconds; 0 is no limit.
    queue_timeout_action: what happens to a request that waited longer: it is rejected, or run after all others.
    allow_timeout_override: whether a request may set a shorter timeout.
    response_cache: whether the server may answer a repeated input from its cache.
    intra_op_threads: threads of one run on the CPU; 0 is one for each core; None is 1 for a small graph, and else 0.
    call_batch_size: items that `avizor batch` puts into one call; 0 lets it choose.
    engine: what `--engine tuned` runs the model on in its own process; empty if that was not measured.
    """

    target: Target = "auto"
    max_batch_size: int = 64
    preferred_batch_sizes: tuple[int, ...] = ()
    instances: int = 1
    queue_delay_us: int = 500
    max_queue_size: int = 0
    queue_timeout_ms: int = 0
    queue_timeout_action: QueueTimeoutAction = "reject"
    allow_timeout_override: bool = True
    response_cache: bool = False
    intra_op_threads: int | None = None
    call_batch_size: int = 0
    engine: EnginesHere | Literal[""] = ""

    def __post_init__(self) -> None:
        _check_choice("target", self.target, get_args(Target))
        _check_choice("queue_timeout_action", self.queue_timeout_action, get_args(QueueTimeoutAction))
        _check_choice("engine", self.engine, ("", *get_args(EnginesHere)))
        for name in ("max_batch_size", "instances"):
            _check_at_least(name, getattr(self, name), 1)
        for name in ("queue_delay_us", "max_queue_size", "queue_timeout_ms", "call_batch_size"):
            _check_at_least(name, getattr(self, name), 0)
        if self.intra_op_threads is not None:
            _check_at_least("intra_op_threads", self.intra_op_threads, 0)
        for size in self.preferred_batch_sizes:
            _check_at_least("preferred_batch_sizes", size, 1)
            if size > self.max_batch_size:
                raise ExportError(
                    f"preferred batch size {size} is over max_batch_size {self.max_batch_size}: prefer a smaller one, or "
                    "give a larger --max-batch-size"
                )
        if list(self.preferred_batch_sizes) != sorted(set(self.preferred_batch_sizes)):
            raise ExportError(f"preferred_batch_sizes {list(self.preferred_batch_sizes)} have to differ and ascend; sort them")

    @property
    def needs_gpu(self) -> bool:
        """Return whether a server without a GPU refuses the model."""
        return self.target in ("gpu", TENSORRT)

    def threads_for(self, multiply_adds: int | None) -> int:
        """Return the threads of one run of a graph; 0 is one for each core. multiply_adds: of one item; None if not known."""
        if self.intra_op_threads is not None or multiply_adds is None or self.needs_gpu:
            return self.intra_op_threads or 0
        return 1 if multiply_adds <= _SMALL else 0

    @property
    def usual_batch_size(self) -> int:
        """Return the most likely batch size: the largest preferred one, or max_batch_size if there is none."""
        return max(self.preferred_batch_sizes, default=self.max_batch_size)


class ServingOptions(TypedDict, total=False):
    """Hold the settings that a user asks for, named as in ServingSettings; all others keep their values.

    preferred_batch_sizes: in any order; 0 removes them.
    """

    target: Target
    max_batch_size: int
    preferred_batch_sizes: tuple[int, ...]
    instances: int
    queue_delay_us: int
    max_queue_size: int
    queue_timeout_ms: int
    queue_timeout_action: QueueTimeoutAction
    allow_timeout_override: bool
    response_cache: bool
    intra_op_threads: int


def with_options(settings: ServingSettings, options: ServingOptions) -> ServingSettings:
    """Return the settings with the options applied. Raises ExportError if they do not fit each other.

    Preferred batch sizes are dropped if the options do not set them and a smaller max_batch_size excludes them.
    """
    limit = options.get("max_batch_size", settings.max_batch_size)
    sizes = [size for size in settings.preferred_batch_sizes if size <= limit]
    preferred = tuple(sorted({*options.get("preferred_batch_sizes", sizes)} - {0}))
    asked: ServingOptions = {**options, "preferred_batch_sizes": preferred}
    changed = replace(settings, **asked)
    override = "--timeout-override" if options.get("allow_timeout_override") else "--no-timeout-override"
    for name, option in (("queue_timeout_action", "--queue-timeout-action"), ("allow_timeout_override", override)):
        if name in options and not changed.queue_timeout_ms:
            raise ExportError(f"{option} has no effect without --queue-timeout-ms: give --queue-timeout-ms too")
    return changed


def serving_of(config: ModelConfig) -> ServingSettings:
    """Return the settings in a configuration; its other fields are ignored.

    Raises ExportError or RepositoryError for values that are not valid.
    """
    batching = config.dynamic_batching
    policy = batching.default_queue_policy
    return ServingSettings(
        target=_target(config),
        max_batch_size=config.max_batch_size,
        preferred_batch_sizes=tuple(sorted(set(batching.preferred_batch_size))),
        instances=instance_count(config),
        queue_delay_us=batching.max_queue_delay_microseconds,
        max_queue_size=policy.max_queue_size,
        queue_timeout_ms=-(-policy.default_timeout_microseconds // 1000),  # rounded up: 0 would be no timeout
        queue_timeout_action="delay" if policy.timeout_action == ModelQueuePolicy.DELAY else "reject",
        allow_timeout_override=(
            policy.allow_timeout_override if policy.default_timeout_microseconds else ServingSettings.allow_timeout_override
        ),
        response_cache=config.response_cache.enable,
        intra_op_threads=intra_op_threads(config),
        call_batch_size=call_batch_size(config),
        engine=tuned_engine(config) or "",
    )


def changes(before: ServingSettings, after: ServingSettings) -> dict[str, tuple[object, object]]:
    """Return the settings that differ, by name, each with its value before and after."""
    names = (field.name for field in fields(ServingSettings))
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in names}
    return {name: (old, new) for name, (old, new) in pairs.items() if old != new}


def shown(value: object) -> str:
    """Return the value of a setting as messages show it: `8 32` for (8, 32), `none` for an empty tuple or text."""
    return (" ".join(map(str, value)) if isinstance(value, tuple) else str(value)) or "none"


def _target(config: ModelConfig) -> Target:
    kinds = {group.kind for group in config.instance_group}
    if kinds == {ModelInstanceGroup.KIND_CPU}:
        return "cpu"
    if ModelInstanceGroup.KIND_GPU not in kinds:
        return "auto"
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    return "tensorrt" if any(accelerator.name == TENSORRT for accelerator in accelerators) else "gpu"


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ExportError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


def _check_at_least(name: str, value: object, minimum: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= _LARGEST:
        raise ExportError(f"{name} is {value!r}; give a whole number from {minimum} to {_LARGEST}")

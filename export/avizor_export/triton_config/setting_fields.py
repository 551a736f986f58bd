"""Where in config.pbtxt each setting of serving stands, so that an option reaches it whatever a person wrote there."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.triton_config.settings import TENSORRT
from avizor_inference.repository.triton_config import BATCH_PARAMETER, THREADS_PARAMETER

_POLICY = ("dynamic_batching", "default_queue_policy")
_TIMEOUT = (*_POLICY, "default_timeout_microseconds")
_GROUPS = ("instance_group",)
_BATCHING = {
    "preferred_batch_sizes": ("dynamic_batching", "preferred_batch_size"),
    "queue_delay_us": ("dynamic_batching", "max_queue_delay_microseconds"),
    "max_queue_size": (*_POLICY, "max_queue_size"),
    "queue_timeout_ms": _TIMEOUT,
    "queue_timeout_action": (*_POLICY, "timeout_action"),
    "allow_timeout_override": (*_POLICY, "allow_timeout_override"),
}
_OTHERS = {
    "max_batch_size": ("max_batch_size",),
    "response_cache": ("response_cache",),
    "intra_op_threads": ("parameters", THREADS_PARAMETER),
    "call_batch_size": ("parameters", BATCH_PARAMETER),
}
# In the order in which a value that makes no sense is looked for: sizes that are preferred give way to the largest.
SETTINGS = {**_BATCHING, **_OTHERS, "instances": _GROUPS}


def settle(base: ModelConfig, edited: ModelConfig, new: ModelConfig, given: Set[str]) -> list[str]:
    """Make `edited` and `new` agree in the fields of settings; gives those in which an edit, a difference to `base`, gave way.

    A setting in `given` is as in `new`. Any other is as in `edited`, to the letter: settings hold no microseconds of a timeout,
    nor several instance groups.
    """
    if "queue_timeout_ms" in given and not (_get(edited, _TIMEOUT) and _get(new, _TIMEOUT)):
        given = {*given, "queue_timeout_action", "allow_timeout_override"}  # which say nothing without a timeout
    replaced = [*_batching(base, edited, new, given)]
    for name, path in _OTHERS.items():
        replaced += _agree(base, edited, new, path, name in given)
    replaced += _instances(base, edited, new, given)
    replaced += _accelerators(base, edited, new, given)
    if base.model_warmup and not edited.model_warmup:  # who took them away does not want those for another size
        del new.model_warmup[:]
    return replaced


def restore_batching(base: ModelConfig, edited: ModelConfig, given: Set[str]) -> list[str]:
    """Where an option asks for dynamic batching and a person took it away, put back that of `base`; gives what gave way."""
    if edited.HasField("dynamic_batching") or not given & set(_BATCHING):
        return []
    replaced = edited.WhichOneof("scheduling_choice") or "dynamic_batching"
    edited.dynamic_batching.CopyFrom(base.dynamic_batching)
    return [replaced]


def restore(config: ModelConfig, source: ModelConfig, setting: str) -> None:
    """Take the fields of one setting from another configuration."""
    _put(config, SETTINGS[setting], _get(source, SETTINGS[setting]))


def _batching(base: ModelConfig, edited: ModelConfig, new: ModelConfig, given: Set[str]) -> Iterator[str]:
    if not edited.HasField("dynamic_batching"):  # a person took it away, or chose another scheduling
        new.ClearField("dynamic_batching")
        if scheduling := edited.WhichOneof("scheduling_choice"):
            getattr(new, scheduling).CopyFrom(getattr(edited, scheduling))
        return
    for name, path in _BATCHING.items():
        yield from _agree(base, edited, new, path, name in given)
    for config in (edited, new):
        if not config.dynamic_batching.default_queue_policy.ByteSize():
            config.dynamic_batching.ClearField("default_queue_policy")


def _instances(base: ModelConfig, edited: ModelConfig, new: ModelConfig, given: Set[str]) -> Iterator[str]:
    groups = edited.instance_group
    moved = "target" in given and {group.kind for group in groups} != {group.kind for group in new.instance_group}
    if moved or ("instances" in given and len(groups) != 1):
        yield from _agree(base, edited, new, _GROUPS, is_given=True)
        return
    if "instances" in given and groups[0].count != (count := new.instance_group[0].count):
        if [group.count for group in base.instance_group] != [groups[0].count]:
            yield "instance_group[0].count"
        groups[0].count = count
    _put(new, _GROUPS, _get(edited, _GROUPS))


def _accelerators(base: ModelConfig, edited: ModelConfig, new: ModelConfig, given: Set[str]) -> Iterator[str]:
    """TensorRT comes and goes with the target; where a person wrote or deleted it, it is as the person wants it."""
    path = ("optimization", "execution_accelerators")
    if "target" in given:
        if _has_tensorrt(edited) != _has_tensorrt(new):
            yield from _agree(base, edited, new, path, is_given=True)
    elif _has_tensorrt(edited) != _has_tensorrt(base):
        _put(new, path, _get(edited, path))
    if not edited.optimization.ByteSize():
        edited.ClearField("optimization")


def _has_tensorrt(config: ModelConfig) -> bool:
    return any(each.name == TENSORRT for each in config.optimization.execution_accelerators.gpu_execution_accelerator)


def _agree(base: ModelConfig, edited: ModelConfig, new: ModelConfig, path: tuple[str, ...], is_given: bool) -> Iterator[str]:
    was, now = _get(edited, path), _get(new, path)
    if was == now:
        return
    if not is_given:
        _put(new, path, was)
        return
    if was != _get(base, path):
        yield f"{path[0]}[{path[1]}]" if path[0] == "parameters" else ".".join(path)
    _put(edited, path, now)


def _get(config: ModelConfig, path: tuple[str, ...]) -> Any:
    """A copy of what stands there: a number, a list, a message, the text of a parameter; None for the last two where absent."""
    if path[0] == "parameters":
        return config.parameters[path[1]].string_value if path[1] in config.parameters else None
    holder = _holder(config, path)
    value = getattr(holder, path[-1])
    if isinstance(value, Message):
        return _copy(value) if holder.HasField(path[-1]) else None
    return value if isinstance(value, int) else [_copy(each) if isinstance(each, Message) else each for each in value]


def _put(config: ModelConfig, path: tuple[str, ...], value: Any) -> None:
    if _get(config, path) == value:  # to write it anyhow would make messages around it
        return
    if path[0] == "parameters":
        if value is None:
            del config.parameters[path[1]]
        else:
            config.parameters[path[1]].string_value = value
        return
    holder = _holder(config, path)
    holder.ClearField(path[-1])
    if isinstance(value, Message):
        getattr(holder, path[-1]).CopyFrom(value)
    elif isinstance(value, list):
        getattr(holder, path[-1]).extend(value)
    elif value is not None:
        setattr(holder, path[-1], value)


def _holder(config: ModelConfig, path: tuple[str, ...]) -> Any:
    message: Any = config
    for name in path[:-1]:
        message = getattr(message, name)
    return message


def _copy(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy

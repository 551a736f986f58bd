"""Translate between the messages of avizor.v1 and values. It uses no gRPC and no other part of the gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from avizor.v1 import inference_pb2 as pb
from avizor_inference.anomaly.verdict import Verdict
from avizor_inference.arrays import Array
from avizor_inference.classify import ClassProbability, MeanProbabilities, present_classes, top_k
from avizor_inference.errors import InvalidInput
from avizor_inference.explain.heat_map import Axis, HeatMap
from avizor_inference.items.input_spec import CONTENTS, InputSpec, has_channels
from avizor_inference.items.kinds.base import Content, FileContent, OneRow, Span, TensorBytes
from avizor_inference.items.kinds.table import Value
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.manifest import Activation, Manifest, Task
from avizor_inference.repository.models import ModelVersion

_TASKS: dict[Task, pb.Task] = {"classify": pb.TASK_CLASSIFY, "reconstruct": pb.TASK_RECONSTRUCT}
_CHANNEL_MODES = frozenset(pb.ChannelMode.values())
_ACTIVATIONS: dict[Activation, pb.Activation] = {"softmax": pb.ACTIVATION_SOFTMAX, "sigmoid": pb.ACTIVATION_SIGMOID}


# What holds values as they come. To take many of them out of a message is work; of all others the bytes are taken as they are.
_PLAIN = frozenset(name for name, kind in CONTENTS.items() if issubclass(kind, OneRow) and not issubclass(kind, FileContent))


def is_plain(item: pb.Item) -> bool:
    """Return whether an item is a tensor or a row, which needs no decoder."""
    return item.WhichOneof("content") in _PLAIN


def content(item: pb.Item) -> Content:
    """Return what an item holds. Raises InvalidInput if it holds nothing, a row with a list or an object in it, or an unknown
    channel mode.
    """
    if item.channel_mode not in _CHANNEL_MODES:
        raise InvalidInput(f"channel_mode {item.channel_mode} is not known; see ChannelMode", field="channel_mode")
    name = item.WhichOneof("content")
    if name is None:
        *all_but_last, last = (content.noun for content in CONTENTS.values())
        raise InvalidInput(f"the item holds nothing; send {', '.join(all_but_last)} or {last}", field="content")
    value = getattr(item, name)
    if isinstance(value, pb.Tensor):  # without `_fields`, which takes ten times as long
        return TensorBytes(value.dtype, tuple(value.shape), value.data)
    kind: Callable[..., Content] = CONTENTS[name]
    if isinstance(value, Struct):
        return kind(_values(value))
    made = kind(**_fields(value)) if isinstance(value, Message) else kind(value)
    return made.taking("mix") if item.channel_mode == pb.CHANNEL_MODE_MIX else made


def channel_problem(mode: int, channels: int, calibration: Calibration, spec: InputSpec) -> str:
    """Return why the scores of a sound are not those of a calibration that was made of chosen channels; "" if they are.

    mode: of the sound. channels: that it has. Any mode is compared with a calibration of each channel, as before there was a
    choice: most of those were made of one channel.
    """
    wanted = calibration.channels
    if channels <= 1 or wanted == "each" or not has_channels(spec) or (wanted == "mix" and mode == pb.CHANNEL_MODE_MIX):
        return ""
    remedy = "send CHANNEL_MODE_MIX" if wanted == "mix" else "send that channel alone"
    return f"calibration {calibration.id} was made with --channels {wanted}, and the sound has {channels} channels: {remedy}"


def tensor_message(values: Array) -> pb.Tensor:
    """Return an output of a model for the windows of one item, [windows, ...]."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return pb.Tensor(dtype=values.dtype.name, shape=values.shape, data=little.tobytes())


def add_outputs(messages: MutableMapping[str, pb.Tensor], outputs: Mapping[str, Array], names: Iterable[str]) -> None:
    """Add those of a model's outputs for one item, [windows, ...] by name, that a request names."""
    for name in names:
        messages[name].CopyFrom(tensor_message(outputs[name]))


def span_messages(spans: Iterable[Span | None], spec: InputSpec) -> list[pb.Span]:
    """Return the spans of an item's windows in samples, and in seconds if the model has a rate; zeros without a recording."""
    format = spec.window_format()
    return [_span(span, format.sample_rate) if span and format else pb.Span() for span in spans]


def model_message(
    model: ModelVersion, versions: Sequence[int], calibration: Calibration | None, active: Iterable[Calibration] = ()
) -> pb.Model:
    """Return what a client is told of a model.

    versions: all that the repository has, ascending. calibration: that verdicts come from, if that is known. active: all that
    may be used, depending on the engine.
    """
    manifest = model.manifest
    message = pb.Model(
        name=model.name,
        version=model.version,
        versions=versions,
        task=_TASKS[manifest.task],
        outputs=_tensors(manifest.outputs),
        labels=manifest.labels or (),
        max_batch_size=model.config.max_batch_size,
        sha256=manifest.model_sha256,
        activation=_activation(manifest),
        thresholds=manifest.thresholds,
    )
    _set_input(message, manifest.input)
    if calibration:
        message.calibration.CopyFrom(_calibration_message(calibration))
    message.calibrations.extend(map(_calibration_message, active))
    return message


def classification_message(
    probabilities: Array,
    spans: Iterable[pb.Span],
    labels: Sequence[str],
    k: int,
    thresholds: Sequence[float] = (),
    least: float = 0.0,
) -> pb.Classification:
    """Return the classes of an item and of each of its windows, the most probable first.

    probabilities: float32[windows, labels]. thresholds: one for each class of a multi-label model; empty for any other.
    k: number of classes; 0 means one, and for a multi-label model all classes over their thresholds. least: only classes of at
    least this probability; it is compared in float32, in which both are sent.
    """

    def best(row: Array) -> list[ClassProbability]:
        found = present_classes(row, labels, thresholds) if k == 0 and thresholds else top_k(row, labels, k or 1, thresholds)
        return [each for each in found if np.float32(each.probability) >= least]  # none that is NaN

    message = pb.Classification()
    is_alone = len(probabilities) == 1  # the mean of one window is that window
    of_item = best(probabilities[0] if is_alone else MeanProbabilities.of(probabilities).value)
    _add_classes(message.classes, of_item)
    for span, row in zip(spans, probabilities, strict=True):
        window = message.windows.add()
        window.span.CopyFrom(span)
        _add_classes(window.classes, of_item if is_alone else best(row))
    return message


def _add_classes(messages: RepeatedCompositeFieldContainer[pb.ClassProbability], classes: Iterable[ClassProbability]) -> None:
    """Fill the messages where they are: to make each one and copy it in takes twice as long."""
    for label, probability, is_over in classes:
        message = messages.add()
        message.label, message.probability = label, probability
        if is_over:
            message.is_over_threshold = True


def verdict_message(
    verdict: Verdict,
    alpha: float,
    spans: Iterable[pb.Span],
    scores: Array,
    p_values: Array,
    confidence: float | None = None,
) -> pb.Verdict:
    """Return the answer for one item that was judged. scores, p_values: of its windows, float[windows]."""
    assert verdict.p_value is not None  # it was judged
    message = pb.Verdict(
        score=verdict.score,
        p_value=verdict.p_value,
        is_anomaly=bool(verdict.is_anomaly(alpha, confidence)),
        judged_by=verdict.judged_by or "",
    )
    for span, score, p_value in zip(spans, scores, p_values, strict=True):
        message.windows.append(pb.JudgedWindow(span=span, score=float(score), p_value=float(p_value)))
    return message


def explanation_message(heat_map: HeatMap, spec: InputSpec, *, with_numbers: bool) -> pb.Explanation:
    """Return what is told of one map, without its method. with_numbers: with its values and axes."""
    (span,) = span_messages([heat_map.row.span], spec)
    message = pb.Explanation(
        span=span,
        window=heat_map.row.index,
        label="" if heat_map.target_unit == "score" else heat_map.target,
        value=heat_map.target_value,
        value_unit=heat_map.target_unit,
        settings=heat_map.settings,
    )
    if with_numbers:
        message.map.CopyFrom(tensor_message(heat_map.values))
        message.y.CopyFrom(_axis(heat_map.y))
        message.x.CopyFrom(_axis(heat_map.x))
        add_outputs(
            message.class_numbers, heat_map.arrays, [name for name, each in heat_map.arrays.items() if each.dtype.kind == "f"]
        )
    return message


def _axis(axis: Axis) -> pb.MapAxis:
    return pb.MapAxis(edges=axis.edges, unit=axis.unit, names=axis.names)


def _calibration_message(calibration: Calibration) -> pb.Calibration:
    message = pb.Calibration(
        id=calibration.id,
        engine_class=calibration.engine_class,
        precision=calibration.precision,
        recordings={source: calibration.recordings(source) for source in calibration.source_names},
    )
    message.created.FromDatetime(calibration.created)
    return message


def _set_input(message: pb.Model, spec: InputSpec) -> None:
    """Fill the message named after the modality with the fields of the description and its front end that it has.

    A kind without a message is the model's own tensor.
    """
    kinds = {field.name for field in message.DESCRIPTOR.oneofs_by_name["input"].fields}
    front_end = spec.front_end_parameters
    if front_end is None or spec.modality not in kinds:
        message.tensor.CopyFrom(_tensor(spec.tensor()))
        return
    fields = front_end.model_dump(mode="json") | spec.model_dump(mode="json")
    ParseDict(fields, getattr(message, spec.modality), ignore_unknown_fields=True)


def _activation(manifest: Manifest) -> pb.Activation:
    """Return the activation of a classifier. Versions older than the field in their manifests are softmax."""
    return _ACTIVATIONS[manifest.activation or "softmax"] if manifest.task == "classify" else pb.ACTIVATION_UNSPECIFIED


def _tensors(specs: Iterable[TensorSpec]) -> list[pb.TensorSpec]:
    return [_tensor(spec) for spec in specs]


def _tensor(spec: TensorSpec) -> pb.TensorSpec:
    return pb.TensorSpec(name=spec.name, dtype=spec.dtype, shape=spec.item_shape, meaning=spec.meaning)


def _span(span: Span, sample_rate: float | None) -> pb.Span:
    message = pb.Span(channel=span.channel, start_sample=span.start_sample, end_sample=span.end_sample)
    if sample_rate:
        message.start_s, message.end_s = span.start_sample / sample_rate, span.end_sample / sample_rate
    return message


def _fields(message: Message) -> dict[str, Any]:
    """Return the fields of a message by name; repeated ones as tuples, enumerations by their names."""
    return {field.name: _value(field.enum_type, getattr(message, field.name)) for field in message.DESCRIPTOR.fields}


def _value(kind: Any, value: Any) -> Any:
    """Return the value of a field. kind: the EnumDescriptor of an enumeration, else None."""
    if kind:
        return _enum_name(kind, value)
    return tuple(value) if isinstance(value, MutableSequence) else value


def _enum_name(kind: Any, number: int) -> str:
    """Return the name of a value without that of its type, in small letters; "" if unspecified, digits if it is not known."""
    if number == 0 or number not in kind.values_by_number:
        return str(number or "")
    name, unspecified = (str(kind.values_by_number[each].name) for each in (number, 0))
    return name.removeprefix(unspecified.removesuffix("UNSPECIFIED")).lower()


def _values(row: Struct) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, value in row.fields.items():
        kind = value.WhichOneof("kind")
        if kind in ("list_value", "struct_value"):
            raise InvalidInput(f"column {name!r} holds a list or an object; give a number or a name", field=f"row.{name}")
        values[name] = None if kind in (None, "null_value") else getattr(value, kind)
    return values

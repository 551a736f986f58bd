"""Read messages of avizor.v1 into the values that the client returns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict

from avizor.v1 import inference_pb2 as pb
from avizor_client import answers
from avizor_client.answers import Array
from avizor_client.errors import bad_answer

_TASKS: dict[int, answers.Task] = {pb.TASK_CLASSIFY: "classify", pb.TASK_RECONSTRUCT: "reconstruct"}
_METHODS: dict[int, answers.Method] = {
    pb.EXPLANATION_METHOD_CAM: "cam",
    pb.EXPLANATION_METHOD_OCCLUSION: "occlusion",
    pb.EXPLANATION_METHOD_ERROR_MAP: "error_map",
}
# What an input of each kind has, beside tables: sizes above 0, and the type of a tensor.
_NEEDED = {
    "image": ("height", "width", "channels"),
    "audio": ("sample_rate", "window_samples"),
    "signal": ("channels", "window_samples"),
    "tensor": ("dtype",),
}


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """Raise BadAnswer where a message cannot be read: it is well formed, and means nothing."""
    try:
        yield
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise bad_answer(f"{type(error).__name__}: {error}") from error


@understood()
def model(message: pb.Model) -> answers.Model:
    """Return a model."""
    kind: Any = message.WhichOneof("input")
    return answers.Model(
        name=message.name,
        version=message.version,
        versions=tuple(message.versions),
        task=_TASKS[message.task],
        input_kind=kind,
        input=_input(kind, getattr(message, kind)),
        outputs=tuple(_tensor_spec(each) for each in message.outputs),
        labels=tuple(message.labels),
        is_multi_label=message.activation == pb.ACTIVATION_SIGMOID,
        thresholds=tuple(message.thresholds),
        max_batch_size=message.max_batch_size,
        sha256=message.sha256,
        calibration=_calibration(message.calibration) if message.HasField("calibration") else None,
        calibrations=tuple(map(_calibration, message.calibrations)),
    )


def classification(item: pb.Classification, _response: pb.ClassifyResponse) -> answers.Classification:
    """Return the classes of one item."""
    windows = (answers.ClassifiedWindow(span(each.span), classes(each.classes)) for each in item.windows)
    return answers.Classification(classes(item.classes), tuple(windows), arrays(item.outputs))


def verdict(item: pb.Verdict, response: pb.DetectAnomalyResponse) -> answers.Verdict:
    """Return the verdict on one item."""
    return answers.Verdict(
        score=item.score,
        p_value=item.p_value,
        is_anomaly=item.is_anomaly,
        judged_by=item.judged_by,
        alpha=response.alpha,
        confidence=response.confidence,
        calibration_id=response.calibration_id,
        windows=tuple(answers.JudgedWindow(span(each.span), each.score, each.p_value) for each in item.windows),
        outputs=arrays(item.outputs),
    )


def embedding(item: pb.Embedding, _response: pb.EmbedResponse) -> answers.Embedding:
    """Return the vectors of one item."""
    return answers.Embedding(array(item.embedding), _spans(item.spans))


def reconstruction(item: pb.Reconstruction, _response: pb.ReconstructResponse) -> answers.Reconstruction:
    """Return what an autoencoder makes of one item."""
    name = item.WhichOneof("content")
    if name == "tensor":
        return answers.Reconstruction(array(item.tensor), _spans(item.spans), b"")
    return answers.Reconstruction(None, (), item.png if name == "png" else item.wav)


def explanation(item: pb.Explanation, response: pb.ExplainResponse) -> answers.Explanation:
    """Return the map of one item."""
    return answers.Explanation(
        span=span(item.span),
        window=item.window,
        method=_METHODS[item.method],
        label=item.label,
        value=item.value,
        value_unit=item.value_unit,
        map=array(item.map) if item.HasField("map") else None,
        y=_axis(item.y),
        x=_axis(item.x),
        png=item.png,
        settings=dict(sorted(item.settings.items())),
        class_numbers=arrays(item.class_numbers),
        rows=response.rows,
    )


def monitor_started(message: pb.MonitorStarted) -> answers.MonitorStarted:
    """Return what the gateway will do with a stream."""
    return answers.MonitorStarted(**_fields(message))


def monitored_window(message: pb.MonitoredWindow) -> answers.MonitoredWindow:
    """Return one window of a stream."""
    return answers.MonitoredWindow(
        span=span(message.span),
        classes=classes(message.classes),
        score=message.score,
        p_value=message.p_value,
        stretch=answers.JudgedStretch(**_fields(message.stretch)) if message.HasField("stretch") else None,
        alarm=message.alarm,
        alarm_changed=message.alarm_changed,
    )


def monitor_ended(message: pb.MonitorEnded) -> answers.MonitorEnded:
    """Return what a stream came to."""
    return answers.MonitorEnded(**_fields(message))


def span(message: pb.Span) -> answers.Span:
    """Return a part of a recording."""
    return answers.Span(**_fields(message))


def classes(messages: Iterable[pb.ClassProbability]) -> tuple[answers.ClassProbability, ...]:
    """Return classes, in their order."""
    return tuple(answers.ClassProbability(each.label, each.probability, each.is_over_threshold) for each in messages)


def array(tensor: pb.Tensor) -> Array:
    """Return an output of a model: [windows, ...]."""
    values: Array = np.frombuffer(tensor.data, np.dtype(tensor.dtype).newbyteorder("<"))
    return values.reshape(tuple(tensor.shape))


def arrays(outputs: Mapping[str, pb.Tensor]) -> dict[str, Array]:
    """Return outputs by their names."""
    return {name: array(each) for name, each in sorted(outputs.items())}


def _spans(messages: Iterable[pb.Span]) -> tuple[answers.Span, ...]:
    return tuple(map(span, messages))


def _axis(message: pb.MapAxis) -> answers.MapAxis:
    return answers.MapAxis(tuple(message.edges), message.unit, tuple(message.names))


def _input(kind: str, message: Any) -> dict[str, Any]:
    """Return the fields of an input. The JSON of protobuf has numbers of 64 bits, which a shape is of, as texts.

    Raises BadAnswer if one is left out that an input of the kind cannot be without.
    """
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    if kind == "table":
        columns = found.setdefault("columns", [])
        missing = [] if all("name" in column for column in columns) else ["name of a column"]
    else:
        missing = [name for name in _NEEDED[kind] if name not in found]
        if isinstance(found.get("sample_rate"), str):  # no number, or infinity
            missing = ["sample_rate"]
    if missing:
        raise bad_answer(f"the {kind} that the model takes has no {missing[0]}")
    return {name: [*map(int, value)] if name == "shape" else value for name, value in found.items()}


def _tensor_spec(message: pb.TensorSpec) -> answers.TensorSpec:
    return answers.TensorSpec(message.name, message.dtype, tuple(message.shape), message.meaning)


def _calibration(message: pb.Calibration) -> answers.Calibration:
    return answers.Calibration(
        id=message.id,
        created=message.created.ToDatetime(UTC),
        recordings=dict(sorted(message.recordings.items())),
        engine_class=message.engine_class,
        precision=message.precision,
    )


def _fields(message: Any) -> dict[str, Any]:
    """Return the fields of a message whose dataclass has the same names."""
    return {field.name: getattr(message, field.name) for field in message.DESCRIPTOR.fields}

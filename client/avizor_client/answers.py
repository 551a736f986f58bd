"""Hold what the client returns: values without methods that talk to anybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from numpy.typing import NDArray

from avizor_client.errors import ItemFailed

Array = NDArray[Any]
Task = Literal["classify", "reconstruct"]
InputKind = Literal["image", "audio", "signal", "table", "tensor"]
Method = Literal["cam", "occlusion", "error_map"]

T = TypeVar("T")


@dataclass(frozen=True)
class Answer(Generic[T]):
    """The answer to a call: one result for each item, in their order; ItemFailed for an item that could not be answered.

    version: of the model, which answered all items. request_ids: of the requests that the call was sent as.
    """

    model: str
    version: int
    items: tuple[T | ItemFailed, ...]
    request_ids: tuple[str, ...]

    def only(self) -> T:
        """Return the result of the only item. Raises ItemFailed if it has none."""
        (item,) = self.items
        if isinstance(item, ItemFailed):
            raise item
        return item


@dataclass(frozen=True)
class Span:
    """A part of one channel of a recording; all zeros for what has no windows. Samples are at the model's rate."""

    channel: int
    start_s: float
    end_s: float
    start_sample: int
    end_sample: int


@dataclass(frozen=True)
class ClassProbability:
    """How probable a class is, 0..1. is_over_threshold: of a multi-label model, whether the class counts as present."""

    label: str
    probability: float
    is_over_threshold: bool


@dataclass(frozen=True)
class ClassifiedWindow:
    """The most probable classes of one window."""

    span: Span
    classes: tuple[ClassProbability, ...]


@dataclass(frozen=True, eq=False)
class Classification:
    """The most probable classes of an item, and of each of its windows. outputs: of the model, by name: [windows, ...]."""

    classes: tuple[ClassProbability, ...]
    windows: tuple[ClassifiedWindow, ...]
    outputs: Mapping[str, Array]


@dataclass(frozen=True)
class JudgedWindow:
    """Score (>= 0) and p-value of one window."""

    span: Span
    score: float
    p_value: float


@dataclass(frozen=True, eq=False)
class Verdict:
    """How unusual an item is.

    score: >= 0. p_value: in (0, 1], the share of normal items that look at least as unusual. is_anomaly: at `alpha`.
    judged_by: the source whose recordings it was compared with; `*`: all sources together. calibration_id: where those are.
    confidence: with which the calibration keeps alpha; 0: on average. outputs: of the model, by name: [windows, ...].
    """

    score: float
    p_value: float
    is_anomaly: bool
    judged_by: str
    alpha: float
    confidence: float
    calibration_id: str
    windows: tuple[JudgedWindow, ...]
    outputs: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Embedding:
    """A vector for each window: float32[windows, size]."""

    vectors: Array
    spans: tuple[Span, ...]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What an autoencoder makes of an item: `tensor` [windows, ...] with `spans`, or `file`, a whole PNG or WAV; never both."""

    tensor: Array | None
    spans: tuple[Span, ...]
    file: bytes


@dataclass(frozen=True)
class MapAxis:
    """One axis of a map of n places: n + 1 increasing `edges`. names: of the places, if they are columns or channels."""

    edges: tuple[float, ...]
    unit: str
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where in an item a model looks.

    window: that is explained, from 0. label: the class; empty for an autoencoder. value: what the model says of the window, in
    value_unit: `logit`, `probability` or `score`. map: float32[h, w] on the axes y and x; None if only a picture was asked for.
    png: a whole file; empty without a picture. rows: of the model, that the request ran.
    """

    span: Span
    window: int
    method: Method
    label: str
    value: float
    value_unit: str
    map: Array | None
    y: MapAxis
    x: MapAxis
    png: bytes
    settings: Mapping[str, str]
    class_numbers: Mapping[str, Array]
    rows: int


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a model. shape: of one item."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str


@dataclass(frozen=True)
class Calibration:
    """What verdicts are compared with. recordings: number of normal items by source."""

    id: str
    created: datetime
    recordings: Mapping[str, int]
    engine_class: str
    precision: str


@dataclass(frozen=True)
class Model:
    """A model that a gateway serves.

    versions: all that there are, ascending. input: the fields of its input by the names of inference.proto, such as `height`
    of an image or `sample_rate` of a sound. calibration: that verdicts come from, if that is known.
    """

    name: str
    version: int
    versions: tuple[int, ...]
    task: Task
    input_kind: InputKind
    input: Mapping[str, Any]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    is_multi_label: bool
    thresholds: tuple[float, ...]
    max_batch_size: int
    sha256: str
    calibration: Calibration | None
    calibrations: tuple[Calibration, ...] = field(default=())


@dataclass(frozen=True)
class Refused:
    """A version in the gateway's repository that does not answer, and why.

    version: 0 of a model as a whole. is_served: it answers all the same, without something new, such as a calibration.
    """

    name: str
    version: int
    reason: str
    is_served: bool


@dataclass(frozen=True)
class MonitorStarted:
    """What the gateway will do with a stream; see inference.proto. Without a detector all but the versions is empty."""

    classifier_version: int
    detector_version: int
    calibration_id: str
    alpha: float
    windows_per_stretch: int
    stretch_s: float
    stretches_to_alarm: int
    stretches_to_clear: int
    false_alarms_per_hour: float
    false_alarms_per_hour_if_exchangeable: float
    judged_by: str


@dataclass(frozen=True)
class JudgedStretch:
    """The verdict on a stretch of a stream."""

    score: float
    p_value: float
    is_flagged: bool
    judged_by: str


@dataclass(frozen=True)
class MonitoredWindow:
    """One window of a stream. stretch: of the last window of a stretch only. alarm: whether it is on after this window."""

    span: Span
    classes: tuple[ClassProbability, ...]
    score: float
    p_value: float
    stretch: JudgedStretch | None
    alarm: bool
    alarm_changed: bool


@dataclass(frozen=True)
class MonitorEnded:
    """What a stream came to."""

    windows: int
    samples: int
    stretches: int
    flagged: int
    alarms: int

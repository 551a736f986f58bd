from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Task(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_UNSPECIFIED: _ClassVar[Task]
    TASK_CLASSIFY: _ClassVar[Task]
    TASK_RECONSTRUCT: _ClassVar[Task]

class Activation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTIVATION_UNSPECIFIED: _ClassVar[Activation]
    ACTIVATION_SOFTMAX: _ClassVar[Activation]
    ACTIVATION_SIGMOID: _ClassVar[Activation]

class ChannelMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANNEL_MODE_UNSPECIFIED: _ClassVar[ChannelMode]
    CHANNEL_MODE_EACH: _ClassVar[ChannelMode]
    CHANNEL_MODE_MIX: _ClassVar[ChannelMode]

class PcmFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PCM_FORMAT_UNSPECIFIED: _ClassVar[PcmFormat]
    PCM_FORMAT_S16LE: _ClassVar[PcmFormat]
    PCM_FORMAT_F32LE: _ClassVar[PcmFormat]

class ReconstructionFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECONSTRUCTION_FORMAT_UNSPECIFIED: _ClassVar[ReconstructionFormat]
    RECONSTRUCTION_FORMAT_TENSOR: _ClassVar[ReconstructionFormat]
    RECONSTRUCTION_FORMAT_PNG: _ClassVar[ReconstructionFormat]
    RECONSTRUCTION_FORMAT_WAV: _ClassVar[ReconstructionFormat]

class ExplanationMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPLANATION_METHOD_UNSPECIFIED: _ClassVar[ExplanationMethod]
    EXPLANATION_METHOD_CAM: _ClassVar[ExplanationMethod]
    EXPLANATION_METHOD_OCCLUSION: _ClassVar[ExplanationMethod]
    EXPLANATION_METHOD_ERROR_MAP: _ClassVar[ExplanationMethod]

class ExplanationFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPLANATION_FORMAT_UNSPECIFIED: _ClassVar[ExplanationFormat]
    EXPLANATION_FORMAT_NUMBERS: _ClassVar[ExplanationFormat]
    EXPLANATION_FORMAT_PNG: _ClassVar[ExplanationFormat]
    EXPLANATION_FORMAT_BOTH: _ClassVar[ExplanationFormat]

class OcclusionBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OCCLUSION_BY_UNSPECIFIED: _ClassVar[OcclusionBy]
    OCCLUSION_BY_TIME: _ClassVar[OcclusionBy]
    OCCLUSION_BY_FREQUENCY: _ClassVar[OcclusionBy]
    OCCLUSION_BY_BOTH: _ClassVar[OcclusionBy]
TASK_UNSPECIFIED: Task
TASK_CLASSIFY: Task
TASK_RECONSTRUCT: Task
ACTIVATION_UNSPECIFIED: Activation
ACTIVATION_SOFTMAX: Activation
ACTIVATION_SIGMOID: Activation
CHANNEL_MODE_UNSPECIFIED: ChannelMode
CHANNEL_MODE_EACH: ChannelMode
CHANNEL_MODE_MIX: ChannelMode
PCM_FORMAT_UNSPECIFIED: PcmFormat
PCM_FORMAT_S16LE: PcmFormat
PCM_FORMAT_F32LE: PcmFormat
RECONSTRUCTION_FORMAT_UNSPECIFIED: ReconstructionFormat
RECONSTRUCTION_FORMAT_TENSOR: ReconstructionFormat
RECONSTRUCTION_FORMAT_PNG: ReconstructionFormat
RECONSTRUCTION_FORMAT_WAV: ReconstructionFormat
EXPLANATION_METHOD_UNSPECIFIED: ExplanationMethod
EXPLANATION_METHOD_CAM: ExplanationMethod
EXPLANATION_METHOD_OCCLUSION: ExplanationMethod
EXPLANATION_METHOD_ERROR_MAP: ExplanationMethod
EXPLANATION_FORMAT_UNSPECIFIED: ExplanationFormat
EXPLANATION_FORMAT_NUMBERS: ExplanationFormat
EXPLANATION_FORMAT_PNG: ExplanationFormat
EXPLANATION_FORMAT_BOTH: ExplanationFormat
OCCLUSION_BY_UNSPECIFIED: OcclusionBy
OCCLUSION_BY_TIME: OcclusionBy
OCCLUSION_BY_FREQUENCY: OcclusionBy
OCCLUSION_BY_BOTH: OcclusionBy

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "refused")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    refused: _containers.RepeatedCompositeFieldContainer[Refused]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., refused: _Optional[_Iterable[_Union[Refused, _Mapping]]] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("name", "version", "reason", "is_served")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IS_SERVED_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    reason: str
    is_served: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., reason: _Optional[str] = ..., is_served: bool = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "versions", "task", "image", "audio", "tensor", "table", "signal", "outputs", "labels", "max_batch_size", "sha256", "calibration", "activation", "thresholds", "calibrations")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    versions: _containers.RepeatedScalarFieldContainer[int]
    task: Task
    image: ImageInput
    audio: AudioInput
    tensor: TensorSpec
    table: TableInput
    signal: SignalInput
    outputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    labels: _containers.RepeatedScalarFieldContainer[str]
    max_batch_size: int
    sha256: str
    calibration: Calibration
    activation: Activation
    thresholds: _containers.RepeatedScalarFieldContainer[float]
    calibrations: _containers.RepeatedCompositeFieldContainer[Calibration]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., versions: _Optional[_Iterable[int]] = ..., task: _Optional[_Union[Task, str]] = ..., image: _Optional[_Union[ImageInput, _Mapping]] = ..., audio: _Optional[_Union[AudioInput, _Mapping]] = ..., tensor: _Optional[_Union[TensorSpec, _Mapping]] = ..., table: _Optional[_Union[TableInput, _Mapping]] = ..., signal: _Optional[_Union[SignalInput, _Mapping]] = ..., outputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., labels: _Optional[_Iterable[str]] = ..., max_batch_size: _Optional[int] = ..., sha256: _Optional[str] = ..., calibration: _Optional[_Union[Calibration, _Mapping]] = ..., activation: _Optional[_Union[Activation, str]] = ..., thresholds: _Optional[_Iterable[float]] = ..., calibrations: _Optional[_Iterable[_Union[Calibration, _Mapping]]] = ...) -> None: ...

class ImageInput(_message.Message):
    __slots__ = ("height", "width", "channels", "resize", "fit", "filter", "antialias", "pad")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    RESIZE_FIELD_NUMBER: _ClassVar[int]
    FIT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ANTIALIAS_FIELD_NUMBER: _ClassVar[int]
    PAD_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    channels: int
    resize: _containers.RepeatedScalarFieldContainer[int]
    fit: str
    filter: str
    antialias: bool
    pad: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., channels: _Optional[int] = ..., resize: _Optional[_Iterable[int]] = ..., fit: _Optional[str] = ..., filter: _Optional[str] = ..., antialias: bool = ..., pad: _Optional[_Iterable[int]] = ...) -> None: ...

class AudioInput(_message.Message):
    __slots__ = ("sample_rate", "window_samples", "hop_samples", "channels")
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    HOP_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    sample_rate: int
    window_samples: int
    hop_samples: int
    channels: int
    def __init__(self, sample_rate: _Optional[int] = ..., window_samples: _Optional[int] = ..., hop_samples: _Optional[int] = ..., channels: _Optional[int] = ...) -> None: ...

class SignalInput(_message.Message):
    __slots__ = ("channels", "window_samples", "hop_samples", "sample_rate", "columns", "key", "delimiter")
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    HOP_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    DELIMITER_FIELD_NUMBER: _ClassVar[int]
    channels: int
    window_samples: int
    hop_samples: int
    sample_rate: float
    columns: _containers.RepeatedScalarFieldContainer[str]
    key: str
    delimiter: str
    def __init__(self, channels: _Optional[int] = ..., window_samples: _Optional[int] = ..., hop_samples: _Optional[int] = ..., sample_rate: _Optional[float] = ..., columns: _Optional[_Iterable[str]] = ..., key: _Optional[str] = ..., delimiter: _Optional[str] = ...) -> None: ...

class TableInput(_message.Message):
    __slots__ = ("columns",)
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    def __init__(self, columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "categories")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    categories: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., categories: _Optional[_Iterable[str]] = ...) -> None: ...

class TensorSpec(_message.Message):
    __slots__ = ("name", "dtype", "shape", "meaning")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    meaning: str
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., meaning: _Optional[str] = ...) -> None: ...

class Calibration(_message.Message):
    __slots__ = ("id", "created", "recordings", "engine_class", "precision")
    class RecordingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    RECORDINGS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_CLASS_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    id: str
    created: _timestamp_pb2.Timestamp
    recordings: _containers.ScalarMap[str, int]
    engine_class: str
    precision: str
    def __init__(self, id: _Optional[str] = ..., created: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., recordings: _Optional[_Mapping[str, int]] = ..., engine_class: _Optional[str] = ..., precision: _Optional[str] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("source", "image", "audio", "tensor", "row", "signal", "pcm", "channel_mode")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    PCM_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_MODE_FIELD_NUMBER: _ClassVar[int]
    source: str
    image: bytes
    audio: bytes
    tensor: Tensor
    row: _struct_pb2.Struct
    signal: bytes
    pcm: Pcm
    channel_mode: ChannelMode
    def __init__(self, source: _Optional[str] = ..., image: _Optional[bytes] = ..., audio: _Optional[bytes] = ..., tensor: _Optional[_Union[Tensor, _Mapping]] = ..., row: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., signal: _Optional[bytes] = ..., pcm: _Optional[_Union[Pcm, _Mapping]] = ..., channel_mode: _Optional[_Union[ChannelMode, str]] = ...) -> None: ...

class Pcm(_message.Message):
    __slots__ = ("format", "sample_rate", "channels", "data")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    format: PcmFormat
    sample_rate: int
    channels: int
    data: bytes
    def __init__(self, format: _Optional[_Union[PcmFormat, str]] = ..., sample_rate: _Optional[int] = ..., channels: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("dtype", "shape", "data")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ClassifyRequest(_message.Message):
    __slots__ = ("model", "version", "items", "top_k", "threshold", "outputs")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    items: _containers.RepeatedCompositeFieldContainer[Item]
    top_k: int
    threshold: float
    outputs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., top_k: _Optional[int] = ..., threshold: _Optional[float] = ..., outputs: _Optional[_Iterable[str]] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("model", "version", "items")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    items: _containers.RepeatedCompositeFieldContainer[Classification]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., items: _Optional[_Iterable[_Union[Classification, _Mapping]]] = ...) -> None: ...

class Classification(_message.Message):
    __slots__ = ("error", "classes", "windows", "outputs")
    class OutputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    error: _status_pb2.Status
    classes: _containers.RepeatedCompositeFieldContainer[ClassProbability]
    windows: _containers.RepeatedCompositeFieldContainer[ClassifiedWindow]
    outputs: _containers.MessageMap[str, Tensor]
    def __init__(self, error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., classes: _Optional[_Iterable[_Union[ClassProbability, _Mapping]]] = ..., windows: _Optional[_Iterable[_Union[ClassifiedWindow, _Mapping]]] = ..., outputs: _Optional[_Mapping[str, Tensor]] = ...) -> None: ...

class ClassProbability(_message.Message):
    __slots__ = ("label", "probability", "is_over_threshold")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    IS_OVER_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    label: str
    probability: float
    is_over_threshold: bool
    def __init__(self, label: _Optional[str] = ..., probability: _Optional[float] = ..., is_over_threshold: bool = ...) -> None: ...

class ClassifiedWindow(_message.Message):
    __slots__ = ("span", "classes")
    SPAN_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    span: Span
    classes: _containers.RepeatedCompositeFieldContainer[ClassProbability]
    def __init__(self, span: _Optional[_Union[Span, _Mapping]] = ..., classes: _Optional[_Iterable[_Union[ClassProbability, _Mapping]]] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("channel", "start_s", "end_s", "start_sample", "end_sample")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    START_S_FIELD_NUMBER: _ClassVar[int]
    END_S_FIELD_NUMBER: _ClassVar[int]
    START_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    END_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    channel: int
    start_s: float
    end_s: float
    start_sample: int
    end_sample: int
    def __init__(self, channel: _Optional[int] = ..., start_s: _Optional[float] = ..., end_s: _Optional[float] = ..., start_sample: _Optional[int] = ..., end_sample: _Optional[int] = ...) -> None: ...

class DetectAnomalyRequest(_message.Message):
    __slots__ = ("model", "version", "items", "alpha", "confidence", "outputs")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    items: _containers.RepeatedCompositeFieldContainer[Item]
    alpha: float
    confidence: float
    outputs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., alpha: _Optional[float] = ..., confidence: _Optional[float] = ..., outputs: _Optional[_Iterable[str]] = ...) -> None: ...

class DetectAnomalyResponse(_message.Message):
    __slots__ = ("model", "version", "alpha", "calibration_id", "items", "confidence")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_ID_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    alpha: float
    calibration_id: str
    items: _containers.RepeatedCompositeFieldContainer[Verdict]
    confidence: float
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., alpha: _Optional[float] = ..., calibration_id: _Optional[str] = ..., items: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., confidence: _Optional[float] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("error", "score", "p_value", "is_anomaly", "judged_by", "windows", "outputs")
    class OutputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    IS_ANOMALY_FIELD_NUMBER: _ClassVar[int]
    JUDGED_BY_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    error: _status_pb2.Status
    score: float
    p_value: float
    is_anomaly: bool
    judged_by: str
    windows: _containers.RepeatedCompositeFieldContainer[JudgedWindow]
    outputs: _containers.MessageMap[str, Tensor]
    def __init__(self, error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., score: _Optional[float] = ..., p_value: _Optional[float] = ..., is_anomaly: bool = ..., judged_by: _Optional[str] = ..., windows: _Optional[_Iterable[_Union[JudgedWindow, _Mapping]]] = ..., outputs: _Optional[_Mapping[str, Tensor]] = ...) -> None: ...

class JudgedWindow(_message.Message):
    __slots__ = ("span", "score", "p_value")
    SPAN_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    span: Span
    score: float
    p_value: float
    def __init__(self, span: _Optional[_Union[Span, _Mapping]] = ..., score: _Optional[float] = ..., p_value: _Optional[float] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("model", "version", "items")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("model", "version", "items")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    items: _containers.RepeatedCompositeFieldContainer[Embedding]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., items: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("error", "embedding", "spans")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    error: _status_pb2.Status
    embedding: Tensor
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    def __init__(self, error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., embedding: _Optional[_Union[Tensor, _Mapping]] = ..., spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ...) -> None: ...

class ReconstructRequest(_message.Message):
    __slots__ = ("model", "version", "items", "format")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    items: _containers.RepeatedCompositeFieldContainer[Item]
    format: ReconstructionFormat
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., format: _Optional[_Union[ReconstructionFormat, str]] = ...) -> None: ...

class ReconstructResponse(_message.Message):
    __slots__ = ("model", "version", "items")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    items: _containers.RepeatedCompositeFieldContainer[Reconstruction]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., items: _Optional[_Iterable[_Union[Reconstruction, _Mapping]]] = ...) -> None: ...

class Reconstruction(_message.Message):
    __slots__ = ("error", "tensor", "png", "wav", "spans")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    WAV_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    error: _status_pb2.Status
    tensor: Tensor
    png: bytes
    wav: bytes
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    def __init__(self, error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., tensor: _Optional[_Union[Tensor, _Mapping]] = ..., png: _Optional[bytes] = ..., wav: _Optional[bytes] = ..., spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("model", "version", "items", "method", "label", "window", "occlusion", "format")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    OCCLUSION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    items: _containers.RepeatedCompositeFieldContainer[Item]
    method: ExplanationMethod
    label: str
    window: int
    occlusion: OcclusionSettings
    format: ExplanationFormat
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., method: _Optional[_Union[ExplanationMethod, str]] = ..., label: _Optional[str] = ..., window: _Optional[int] = ..., occlusion: _Optional[_Union[OcclusionSettings, _Mapping]] = ..., format: _Optional[_Union[ExplanationFormat, str]] = ...) -> None: ...

class OcclusionSettings(_message.Message):
    __slots__ = ("size", "stride", "fill", "by")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    size: _containers.RepeatedScalarFieldContainer[float]
    stride: _containers.RepeatedScalarFieldContainer[float]
    fill: str
    by: OcclusionBy
    def __init__(self, size: _Optional[_Iterable[float]] = ..., stride: _Optional[_Iterable[float]] = ..., fill: _Optional[str] = ..., by: _Optional[_Union[OcclusionBy, str]] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("model", "version", "items", "rows")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    items: _containers.RepeatedCompositeFieldContainer[Explanation]
    rows: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., items: _Optional[_Iterable[_Union[Explanation, _Mapping]]] = ..., rows: _Optional[int] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("error", "span", "window", "method", "label", "value", "value_unit", "map", "y", "x", "png", "settings", "class_numbers")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ClassNumbersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VALUE_UNIT_FIELD_NUMBER: _ClassVar[int]
    MAP_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    CLASS_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    error: _status_pb2.Status
    span: Span
    window: int
    method: ExplanationMethod
    label: str
    value: float
    value_unit: str
    map: Tensor
    y: MapAxis
    x: MapAxis
    png: bytes
    settings: _containers.ScalarMap[str, str]
    class_numbers: _containers.MessageMap[str, Tensor]
    def __init__(self, error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., span: _Optional[_Union[Span, _Mapping]] = ..., window: _Optional[int] = ..., method: _Optional[_Union[ExplanationMethod, str]] = ..., label: _Optional[str] = ..., value: _Optional[float] = ..., value_unit: _Optional[str] = ..., map: _Optional[_Union[Tensor, _Mapping]] = ..., y: _Optional[_Union[MapAxis, _Mapping]] = ..., x: _Optional[_Union[MapAxis, _Mapping]] = ..., png: _Optional[bytes] = ..., settings: _Optional[_Mapping[str, str]] = ..., class_numbers: _Optional[_Mapping[str, Tensor]] = ...) -> None: ...

class MapAxis(_message.Message):
    __slots__ = ("edges", "unit", "names")
    EDGES_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    edges: _containers.RepeatedScalarFieldContainer[float]
    unit: str
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, edges: _Optional[_Iterable[float]] = ..., unit: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class MonitorRequest(_message.Message):
    __slots__ = ("start", "pcm")
    START_FIELD_NUMBER: _ClassVar[int]
    PCM_FIELD_NUMBER: _ClassVar[int]
    start: MonitorStart
    pcm: bytes
    def __init__(self, start: _Optional[_Union[MonitorStart, _Mapping]] = ..., pcm: _Optional[bytes] = ...) -> None: ...

class MonitorStart(_message.Message):
    __slots__ = ("classifier", "classifier_version", "detector", "detector_version", "source", "format", "sample_rate", "channels", "channel_mode", "false_alarms_per_hour", "top_k", "alpha", "assume_exchangeable")
    CLASSIFIER_FIELD_NUMBER: _ClassVar[int]
    CLASSIFIER_VERSION_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_MODE_FIELD_NUMBER: _ClassVar[int]
    FALSE_ALARMS_PER_HOUR_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    ASSUME_EXCHANGEABLE_FIELD_NUMBER: _ClassVar[int]
    classifier: str
    classifier_version: int
    detector: str
    detector_version: int
    source: str
    format: PcmFormat
    sample_rate: int
    channels: int
    channel_mode: ChannelMode
    false_alarms_per_hour: float
    top_k: int
    alpha: float
    assume_exchangeable: bool
    def __init__(self, classifier: _Optional[str] = ..., classifier_version: _Optional[int] = ..., detector: _Optional[str] = ..., detector_version: _Optional[int] = ..., source: _Optional[str] = ..., format: _Optional[_Union[PcmFormat, str]] = ..., sample_rate: _Optional[int] = ..., channels: _Optional[int] = ..., channel_mode: _Optional[_Union[ChannelMode, str]] = ..., false_alarms_per_hour: _Optional[float] = ..., top_k: _Optional[int] = ..., alpha: _Optional[float] = ..., assume_exchangeable: bool = ...) -> None: ...

class MonitorResponse(_message.Message):
    __slots__ = ("started", "window", "ended")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    started: MonitorStarted
    window: MonitoredWindow
    ended: MonitorEnded
    def __init__(self, started: _Optional[_Union[MonitorStarted, _Mapping]] = ..., window: _Optional[_Union[MonitoredWindow, _Mapping]] = ..., ended: _Optional[_Union[MonitorEnded, _Mapping]] = ...) -> None: ...

class MonitorStarted(_message.Message):
    __slots__ = ("classifier_version", "detector_version", "calibration_id", "alpha", "windows_per_stretch", "stretch_s", "stretches_to_alarm", "stretches_to_clear", "false_alarms_per_hour", "false_alarms_per_hour_if_exchangeable", "judged_by")
    CLASSIFIER_VERSION_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_ID_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_PER_STRETCH_FIELD_NUMBER: _ClassVar[int]
    STRETCH_S_FIELD_NUMBER: _ClassVar[int]
    STRETCHES_TO_ALARM_FIELD_NUMBER: _ClassVar[int]
    STRETCHES_TO_CLEAR_FIELD_NUMBER: _ClassVar[int]
    FALSE_ALARMS_PER_HOUR_FIELD_NUMBER: _ClassVar[int]
    FALSE_ALARMS_PER_HOUR_IF_EXCHANGEABLE_FIELD_NUMBER: _ClassVar[int]
    JUDGED_BY_FIELD_NUMBER: _ClassVar[int]
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
    def __init__(self, classifier_version: _Optional[int] = ..., detector_version: _Optional[int] = ..., calibration_id: _Optional[str] = ..., alpha: _Optional[float] = ..., windows_per_stretch: _Optional[int] = ..., stretch_s: _Optional[float] = ..., stretches_to_alarm: _Optional[int] = ..., stretches_to_clear: _Optional[int] = ..., false_alarms_per_hour: _Optional[float] = ..., false_alarms_per_hour_if_exchangeable: _Optional[float] = ..., judged_by: _Optional[str] = ...) -> None: ...

class MonitoredWindow(_message.Message):
    __slots__ = ("span", "classes", "score", "p_value", "stretch", "alarm", "alarm_changed")
    SPAN_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    STRETCH_FIELD_NUMBER: _ClassVar[int]
    ALARM_FIELD_NUMBER: _ClassVar[int]
    ALARM_CHANGED_FIELD_NUMBER: _ClassVar[int]
    span: Span
    classes: _containers.RepeatedCompositeFieldContainer[ClassProbability]
    score: float
    p_value: float
    stretch: JudgedStretch
    alarm: bool
    alarm_changed: bool
    def __init__(self, span: _Optional[_Union[Span, _Mapping]] = ..., classes: _Optional[_Iterable[_Union[ClassProbability, _Mapping]]] = ..., score: _Optional[float] = ..., p_value: _Optional[float] = ..., stretch: _Optional[_Union[JudgedStretch, _Mapping]] = ..., alarm: bool = ..., alarm_changed: bool = ...) -> None: ...

class JudgedStretch(_message.Message):
    __slots__ = ("score", "p_value", "is_flagged", "judged_by")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    IS_FLAGGED_FIELD_NUMBER: _ClassVar[int]
    JUDGED_BY_FIELD_NUMBER: _ClassVar[int]
    score: float
    p_value: float
    is_flagged: bool
    judged_by: str
    def __init__(self, score: _Optional[float] = ..., p_value: _Optional[float] = ..., is_flagged: bool = ..., judged_by: _Optional[str] = ...) -> None: ...

class MonitorEnded(_message.Message):
    __slots__ = ("windows", "samples", "stretches", "flagged", "alarms")
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    STRETCHES_FIELD_NUMBER: _ClassVar[int]
    FLAGGED_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    windows: int
    samples: int
    stretches: int
    flagged: int
    alarms: int
    def __init__(self, windows: _Optional[int] = ..., samples: _Optional[int] = ..., stretches: _Optional[int] = ..., flagged: _Optional[int] = ..., alarms: _Optional[int] = ...) -> None: ...

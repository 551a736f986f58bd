"""Hold scores of normal recordings that a model was not trained on: new ones are compared with them (anomaly/p_values.py).

The file contains the score of every window, by source. Recordings that are shorter than the model's window, and therefore are
filled up with zeros, are in a separate list.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from avizor_inference.digests import digest_of
from avizor_inference.error_text import reason, remedy
from avizor_inference.errors import VersionRefused
from avizor_inference.items.source_rule import DEFAULT_SOURCE
from avizor_inference.items.windows import ChannelMode
from avizor_inference.regular_files import read_regular
from avizor_inference.repository.manifest import Manifest
from avizor_inference.strict_json import Strict, validation_message

# What computes a model: the scores of different classes, and of different precisions, are calibrated separately.
EngineClass = Literal["onnxruntime-cpu", "onnxruntime-cuda", "tensorrt", "openvino"]
# The number format of that computation. It may differ from that of the graph: TensorRT runs an FP32 graph in FP16 too.
RunPrecision = Literal["fp32", "bf16", "fp16", "int8"]

ID_PATTERN = r"^[0-9a-f]{12}$"

# All sources together.
POOLED = "*"

# Scores of one recording, for all windows of all channels: the output `score`, >= 0.
Scores = tuple[float, ...]
BySource = dict[str, tuple[Scores, ...]]

# Fields that were added, with their defaults.
_YOUNGER = (("channels", "each"), ("folds", 0))

_REMEDY = "calibrate the model again with `avizor calibrate`"


class EngineKind(NamedTuple):
    """Says what computes the scores of a model: the class of the engine, and the precision it computes in."""

    engine_class: EngineClass
    precision: RunPrecision

    @property
    def key(self) -> str:
        """Return both as one text, `onnxruntime-cpu/fp32`."""
        return "/".join(self)

    @classmethod
    def from_key(cls, key: str) -> EngineKind:
        """Return what `key` wrote as this text. Raises ValueError if it is another text."""
        engine_class, _, precision = key.partition("/")
        if engine_class not in get_args(EngineClass) or precision not in get_args(RunPrecision):
            raise ValueError(f"{key!r} is not an engine class and a precision")
        return cls(engine_class, precision)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.engine_class} in {self.precision}"


class Calibration(Strict):
    """Holds `calibrations/<id>.json`: scores of normal recordings by source, from one version of a model on one kind of engine.

    sources: recordings of at least one window, and images, rows and tensors. short: recordings shorter than a window.
    """

    schema_version: int = Field(default=3)
    model: str
    version: int
    model_sha256: str
    engine_class: EngineClass = Field(description="of the engine that computed the scores")
    precision: RunPrecision = Field(description="in which it computed them")
    created: datetime
    sources: BySource
    short: BySource = Field(default_factory=dict)
    channels: ChannelMode = Field(default="each", description="of the recordings, for a model that takes one at a time")
    probe_scores: Scores = Field(default=(), description="of the version's probe items, from the same engine; empty without")
    folds: int = Field(
        default=0,
        ge=0,
        description="cross-fitted: each item was scored by the part of the model that was trained without its fold",
    )

    @model_serializer(mode="wrap")
    def _without_default(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is younger than the file where it is the default, so that older calibrations keep their ids."""
        fields: dict[str, Any] = dump(self)
        return {name: value for name, value in fields.items() if (name, value) not in _YOUNGER}

    @field_validator("schema_version")
    @classmethod
    def _is_of_this_kind(cls, schema_version: int) -> int:
        if schema_version != 3:
            raise ValueError(
                f"schema_version is {schema_version}, and this release reads 3: before, a calibration did not name its engine"
            )
        return schema_version

    @field_validator("sources", "short")
    @classmethod
    def _scores_are_there(cls, sources: BySource) -> BySource:
        for source, recordings in sources.items():
            if not recordings or not all(recordings):
                raise ValueError(f"source {source!r} has no recordings, or one without windows")
            if any(score < 0 for scores in recordings for score in scores):
                raise ValueError(f"source {source!r} has a score below 0")
        return sources

    @model_validator(mode="after")
    def _holds_recordings(self) -> Calibration:
        if not self.sources and not self.short:
            raise ValueError("it holds no recordings")
        return self

    @classmethod
    def read(cls, path: Path, manifest: Manifest) -> Calibration:
        """Read a calibration and compare it with its name and with the manifest. Raises VersionRefused if they differ."""
        try:
            content = read_regular(path)
        except OSError as error:
            raise VersionRefused(
                f"{path}: cannot be read ({reason(error)}); {remedy(error, f'restore it, or {_REMEDY}')}"
            ) from error
        return cls.of_bytes(content, path.stem, str(path), manifest)

    @classmethod
    def of_bytes(cls, content: bytes, identifier: str, path: str, manifest: Manifest) -> Calibration:
        """Read the content of a calibration's file. identifier: by its name. path: for messages. See `read`."""
        try:
            calibration = cls.from_json(content)
        except ValueError as error:
            raise VersionRefused(f"{path} is not a calibration: {validation_message(error)}; {_REMEDY}") from error
        if calibration.model_sha256 != manifest.model_sha256:
            raise VersionRefused(
                f"{path} was made with another model.onnx (sha256 {calibration.model_sha256[:12]}..., here "
                f"{manifest.model_sha256[:12]}...); {_REMEDY}"
            )
        if calibration.id != identifier:
            raise VersionRefused(f"{path} was changed: its digest begins with {calibration.id}; restore it, or {_REMEDY}")
        return calibration

    def most_of_a_kind(self) -> int:
        """Return the number of recordings of at least one window, or of shorter ones, whichever is larger."""
        return max(self.count(is_short=False), self.count(is_short=True))

    @property
    def kind(self) -> EngineKind:
        """Return the kind of engine that it is for."""
        return EngineKind(self.engine_class, self.precision)

    @cached_property
    def id(self) -> str:
        """Return the name of the calibration: the first 12 hex digits of its digest."""
        return digest_of(self)[:12]

    @property
    def source_names(self) -> list[str]:
        """Return the sources that have recordings, sorted."""
        return sorted({*self.sources, *self.short})

    @cached_property
    def tells_sources_apart(self) -> bool:
        """Return whether recordings have sources. Those of a flat folder have the source `default`, used for any source."""
        return self.source_names != [DEFAULT_SOURCE]

    def of_kind(self, is_short: bool) -> BySource:
        """Return the recordings that are shorter than a window, or those that are not."""
        return self.short if is_short else self.sources

    def count(self, source: str = POOLED, *, is_short: bool) -> int:
        """Return the number of recordings of one kind, from one source or from all sources together."""
        by_source = self.of_kind(is_short)
        return sum(map(len, by_source.values())) if source == POOLED else len(by_source.get(source, ()))

    def recordings(self, source: str = POOLED) -> int:
        """Return the number of recordings of both kinds, from one source or from all sources together."""
        return self.count(source, is_short=False) + self.count(source, is_short=True)

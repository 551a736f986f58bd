"""Describe one published version: the pydantic model of `manifest.json`."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from avizor_inference.error_text import reason, remedy
from avizor_inference.errors import VersionRefused
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.regular_files import read_regular
from avizor_inference.repository.reports import FilterNoise, ParityReport, VariantReport
from avizor_inference.strict_json import Strict, validation_message

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"

# A model's name is the name of a folder, and part of URLs and metric labels.
LONGEST_NAME = 128
NAME_PATTERN = rf"^[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LONGEST_NAME - 1}}}$"

Task = Literal["classify", "reconstruct"]
Precision = Literal["fp32", "fp16", "int8"]
# How a classifier's probabilities are made. softmax: one class is right, and they sum to 1. sigmoid: any number of classes may
# be right, and each has its own probability (multi-label).
Activation = Literal["softmax", "sigmoid"]
Threshold = Annotated[float, Field(gt=0, le=1)]


# The factory of a version that `avizor fit` has trained.
FITTED = "avizor fit"


class Provenance(Strict):
    """Tells where the version comes from."""

    factory: str
    arguments: dict[str, JsonValue] = Field(
        default_factory=dict, description="arguments of the factory, or settings of the architecture such as its layout"
    )
    weights_sha256: str | None = None
    weights_key: str | None = Field(default=None, description="key of the weights in their file; . is its top level")
    parameters: int = Field(ge=0, description="trainable and fixed numbers in the torch module, front end excluded")
    created: datetime
    producers: dict[str, str] = Field(description="package -> version")

    def built_with(self) -> str:
        """Return the arguments as text for people; empty if there are none."""
        return (
            "with " + ", ".join(f"{name}={json.dumps(value)}" for name, value in self.arguments.items())
            if self.arguments
            else ""
        )


class Manifest(Strict):
    """Describes one published version of a model."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    task: Task
    input: InputSpec
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...] | None = None
    activation: Activation | None = Field(
        default=None, description="of a classifier; absent in versions older than this field, which are softmax"
    )
    thresholds: tuple[Threshold, ...] = Field(
        default=(), description="of each class, where the activation is sigmoid: from it on, the class counts as present"
    )
    front_end_digest: str | None = Field(default=None, description="sha256 of the front end's parameters; absent without one")
    model_sha256: str
    model_bytes: int
    opset: int
    ir_version: int
    parity: ParityReport = Field(description="of the FP32 graph, or of the file that came quantised")
    simplified: bool = Field(default=True, description="whether the exporter's optimiser was applied to the graph")
    precision: Precision = Field(default="fp32", description="of the network; front end and error are always FP32")
    precision_of_file: bool = Field(
        default=False,
        description="whether the file came in this precision, so that it is compared with no FP32 network",
    )
    variant: VariantReport | None = Field(default=None, description="absent if the precision is fp32, or that of the file")
    evaluation: dict[str, JsonValue] = Field(default_factory=dict)
    filter_noise: FilterNoise | None = Field(default=None, description="absent in versions older than this field")
    multiply_adds: int | None = Field(
        default=None, ge=0, description="of one item, front end included; absent if not known, and in older versions"
    )
    probe_sha256: str | None = Field(default=None, description="of probe.npz; absent without probe items")
    provenance: Provenance

    @model_validator(mode="after")
    def _input_makes_a_tensor(self) -> Manifest:
        try:
            self.input.tensor()
        except ValidationError as error:
            raise ValueError(validation_message(error)) from error
        return self

    @model_validator(mode="after")
    def _variants_are_reported(self) -> Manifest:
        if self.precision_of_file and self.precision == "fp32":
            raise ValueError("precision_of_file is for another precision than fp32")
        if (self.precision == "fp32" or self.precision_of_file) is not (self.variant is None):
            raise ValueError(f"precision {self.precision} {'with' if self.variant else 'without'} a report on the variant")
        return self

    @model_validator(mode="after")
    def _each_class_has_a_threshold(self) -> Manifest:
        expected = len(self.labels or ()) if self.activation == "sigmoid" else 0
        if len(self.thresholds) != expected:
            raise ValueError(
                f"{len(self.thresholds)} thresholds, where activation is {self.activation} and there are "
                f"{len(self.labels or ())} labels; a sigmoid has one for each label, and nothing else has any"
            )
        if self.activation and self.task != "classify":
            raise ValueError(f"activation {self.activation}, which only a classifier has, where task is {self.task}")
        return self

    @property
    def is_multi_label(self) -> bool:
        """Return whether any number of classes may be right for one item: each has its own probability and threshold."""
        return self.activation == "sigmoid"

    @property
    def interface(self) -> tuple[object, ...]:
        """Return what all versions of a model have in common: tensors, labels, and whether it is multi-label."""
        tensors = (self.input.tensor(), *self.outputs)
        shapes = [(tensor.name, tensor.dtype, tensor.item_shape) for tensor in tensors]
        return shapes, self.labels, self.is_multi_label

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read `manifest.json`. Raises VersionRefused with the name of each wrong field."""
        try:
            return cls.from_json(read_regular(path))
        except OSError as error:
            what_to_do = remedy(error, "export the model again")
            raise VersionRefused(f"{path}: cannot be read ({reason(error)}); {what_to_do}") from error
        except ValueError as error:
            raise VersionRefused(f"{path} is not a manifest: {validation_message(error)}; export the model again") from error

    def to_json(self) -> str:
        """Return the text of the file."""
        return self.model_dump_json(indent=2) + "\n"

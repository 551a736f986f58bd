"""What one published version means: the pydantic model of `manifest.json`, and the parts it is made of."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from avizor_inference.errors import VersionRefused
from avizor_inference.windows import WindowFormat

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"

# A model's name is a folder's name, and travels in URLs and metric labels.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"

Task = Literal["classify", "reconstruct"]
DType = Literal["uint8", "int32", "int64", "float32", "float64"]


class Strict(BaseModel):
    """Immutable, and no field that is not known: a typing error in a manifest is an error and not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(Strict):
    """One input or output: its name, element type, and shape without the batch dimension."""

    name: str
    dtype: DType
    item_shape: tuple[Annotated[int, Field(ge=1)], ...]
    meaning: str = ""

    @property
    def item_bytes(self) -> int:
        """Size of one item in bytes."""
        return math.prod(self.item_shape) * np.dtype(self.dtype).itemsize


class ImageFrontEnd(Strict):
    """uint8 pixels -> (pixel / 255 - mean) / std per channel, channels first."""

    kind: Literal["image"] = "image"
    mean: tuple[float, ...] = Field(default=(0.0,), description="per channel, on the 0..1 scale")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), description="per channel, on the 0..1 scale")


class LogMelFrontEnd(Strict):
    """Waveform -> natural logarithm of the mel power spectrogram, standardised per mel band.

    Frames are not centred (frame i starts at sample i * hop_length); the window is a periodic Hann of n_fft samples; the
    filter bank is Slaney's (area-normalised, as in librosa's default); power is floored before the logarithm.
    """

    kind: Literal["log_mel"] = "log_mel"
    n_fft: int = Field(gt=0, description="samples")
    hop_length: int = Field(gt=0, description="samples")
    n_mels: int = Field(gt=0)
    f_min: float = Field(default=0.0, ge=0, description="Hz")
    f_max: float | None = Field(default=None, description="Hz; half the sample rate where absent")
    floor: float = Field(default=1e-10, gt=0, description="least mel power before the logarithm")
    mean: tuple[float, ...] = Field(default=(0.0,), description="per mel band, or one for all")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), description="per mel band, or one for all")

    @model_validator(mode="after")
    def _constants_fit_the_bands(self) -> LogMelFrontEnd:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.n_mels):
                raise ValueError(f"{name} has {len(values)} values; give 1, or one for each of the {self.n_mels} mel bands")
        return self


class ImageInput(Strict):
    """`image`: uint8[batch, height, width, channels]."""

    modality: Literal["image"] = "image"
    height: int = Field(gt=0, description="pixels")
    width: int = Field(gt=0, description="pixels")
    channels: int = Field(gt=0)
    front_end: ImageFrontEnd = ImageFrontEnd()

    @model_validator(mode="after")
    def _constants_fit_the_channels(self) -> ImageInput:
        for name, values in (("mean", self.front_end.mean), ("std", self.front_end.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} has {len(values)} values; give 1, or one for each of the {self.channels} channels")
        return self

    def tensor(self) -> TensorSpec:
        """The graph's input."""
        shape = (self.height, self.width, self.channels)
        return TensorSpec(name="image", dtype="uint8", item_shape=shape, meaning="pixels, 0..255, channels last")


class AudioInput(Strict):
    """`waveform`: float32[batch, window_samples] in [-1, 1]."""

    modality: Literal["audio"] = "audio"
    sample_rate: int = Field(gt=0, description="Hz")
    window_samples: int = Field(gt=0, description="samples the model sees at once")
    hop_samples: int = Field(gt=0, description="samples from the start of one window to the next")
    front_end: LogMelFrontEnd

    @model_validator(mode="after")
    def _window_holds_a_frame(self) -> AudioInput:
        if self.window_samples < self.front_end.n_fft:
            raise ValueError(f"window_samples {self.window_samples} is less than n_fft {self.front_end.n_fft}")
        if self.hop_samples > self.window_samples:
            raise ValueError(
                f"hop_samples {self.hop_samples} is over window_samples {self.window_samples}: sound would be skipped"
            )
        return self

    def tensor(self) -> TensorSpec:
        """The graph's input."""
        meaning = f"one channel of sound at {self.sample_rate} Hz, -1..1"
        return TensorSpec(name="waveform", dtype="float32", item_shape=(self.window_samples,), meaning=meaning)

    def window_format(self) -> WindowFormat:
        """How recordings are cut for this model."""
        return WindowFormat(self.sample_rate, self.window_samples, self.hop_samples)


class TensorInput(Strict):
    """A model without a front end: its own tensor, `dtype[batch, *item_shape]`."""

    modality: Literal["tensor"] = "tensor"
    name: str = "input"
    dtype: DType = "float32"
    item_shape: tuple[Annotated[int, Field(ge=1)], ...]

    def tensor(self) -> TensorSpec:
        """The graph's input."""
        return TensorSpec(name=self.name, dtype=self.dtype, item_shape=self.item_shape, meaning="the model's own tensor")


InputSpec = Annotated[ImageInput | AudioInput | TensorInput, Field(discriminator="modality")]


class OutputDifference(Strict):
    """Largest difference between torch and ONNX Runtime seen in one output, and the sample that showed it."""

    largest_absolute: float
    largest_relative: float
    sample: str
    passed: bool


class ServerParity(Strict):
    """The same comparison through a live server, before the version was published."""

    address: str
    outputs: dict[str, OutputDifference]


class ParityReport(Strict):
    """Same inputs through the reference and through the exported graph: |onnx - reference| <= atol + rtol * |reference|.

    compared_with: the torch module, or the reference evaluator of the onnx package.
    top1_agreement: share of items with the same most probable class, ties aside (classifiers).
    rank_correlation: Spearman's, of the scores (autoencoders); absent where too few items have different scores.
    """

    compared_with: str = "torch"
    absolute_tolerance: float
    relative_tolerance: float
    batch_sizes: tuple[int, ...]
    samples: tuple[str, ...]
    outputs: dict[str, OutputDifference]
    top1_agreement: float | None = None
    rank_correlation: float | None = None
    server: ServerParity | None = None

    @property
    def passed(self) -> bool:
        """True if every output agreed on every sample, and with it classes and order."""
        outputs = [*self.outputs.values(), *(self.server.outputs.values() if self.server else ())]
        same_class = self.top1_agreement is None or self.top1_agreement == 1
        same_order = self.rank_correlation is None or self.rank_correlation >= 0.99
        return same_class and same_order and all(output.passed for output in outputs)


class Provenance(Strict):
    """Where the version comes from."""

    factory: str
    weights_sha256: str | None = None
    parameters: int = Field(ge=0, description="trainable and fixed numbers in the torch module, front end excluded")
    created: datetime
    producers: dict[str, str] = Field(description="package -> version")


class Manifest(Strict):
    """One published version of a model."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    task: Task
    input: InputSpec
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...] | None = None
    front_end_digest: str | None = Field(default=None, description="sha256 of the front end's parameters; absent without one")
    model_sha256: str
    model_bytes: int
    opset: int
    ir_version: int
    parity: ParityReport
    evaluation: dict[str, JsonValue] = {}
    provenance: Provenance

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read `manifest.json`. Raises VersionRefused naming each field that is wrong."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise VersionRefused(f"{path}: cannot be read ({error.strerror}); export the model again") from error
        except ValidationError as error:
            raise VersionRefused(f"{path} is not a manifest: {describe(error)}; export the model again") from error

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(indent=2) + "\n"


def describe(error: ValidationError) -> str:
    """A pydantic error in one line: `field.path: what is wrong`, for the first five fields."""
    parts = [f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()]
    return "; ".join(parts[:5]) + ("; ..." if len(parts) > 5 else "")


def digest_of(model: BaseModel) -> str:
    """sha256 of a model's canonical JSON (sorted keys, no white space)."""
    return digest_of_json(model.model_dump(mode="json"))


def digest_of_json(value: Any) -> str:
    """sha256 of a JSON value with sorted keys and no white space."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """sha256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""What one raw item is, by modality, and the front end that goes into the graph before the network."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from avizor_inference.items.windows import WindowFormat
from avizor_inference.strict_json import Strict

# A message of gRPC, or a file of protobuf, is smaller.
MESSAGE_BYTES = 2**31

# Without the batch. numpy 1 holds 32 dimensions.
ItemShape = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=31)]
DType = Literal["uint8", "int32", "int64", "float32", "float64"]


class TensorSpec(Strict):
    """One input or output: its name, element type, and shape without the batch dimension."""

    name: str
    dtype: DType
    item_shape: ItemShape
    meaning: str = ""

    @property
    def item_bytes(self) -> int:
        """Size of one item in bytes."""
        return math.prod(self.item_shape) * np.dtype(self.dtype).itemsize

    @model_validator(mode="after")
    def _an_item_can_travel(self) -> TensorSpec:
        if self.item_bytes >= MESSAGE_BYTES:
            raise ValueError(f"{self.name} has {self.item_bytes:.3g} bytes an item; a message of gRPC holds 2 GiB")
        return self


class ImageFrontEnd(Strict):
    """uint8 pixels -> (pixel / 255 - mean) / std per channel, channels first."""

    kind: Literal["image"] = "image"
    mean: tuple[float, ...] = Field(default=(0.0,), description="per channel, on the 0..1 scale")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), description="per channel, on the 0..1 scale")


class LogMelFrontEnd(Strict):
    """Waveform -> logarithm of the mel spectrogram, standardised per mel band.

    Frame i starts at sample i * hop_length, or with `center` has its middle there (the waveform is padded by n_fft / 2 on both
    sides). Windows are periodic, and shorter ones lie in the middle of n_fft samples. Names and defaults are librosa's, except
    for `center`.
    """

    kind: Literal["log_mel"] = "log_mel"
    n_fft: int = Field(gt=0, description="samples")
    hop_length: int = Field(gt=0, description="samples")
    win_length: int | None = Field(default=None, gt=0, description="samples; n_fft where absent")
    window: Literal["hann", "hamming", "blackman", "boxcar"] = "hann"
    center: bool = False
    pad_mode: Literal["constant", "reflect"] = Field(default="constant", description="how `center` pads")
    power: Literal[1, 2] = Field(default=2, description="of the magnitude: 1 amplitude, 2 power")
    mel_scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney", "none"] = Field(default="slaney", description="slaney: each filter has area 1 in Hz")
    log: Literal["natural", "log10", "db"] = Field(default="natural", description="db: 10 log10 of power, 20 of amplitude")
    n_mels: int = Field(gt=0)
    f_min: float = Field(default=0.0, ge=0, description="Hz")
    f_max: float | None = Field(default=None, description="Hz; half the sample rate where absent")
    floor: float = Field(default=1e-10, gt=0, description="least mel value before the logarithm")
    compensated: bool = Field(
        default=False,
        description="carry rounding errors along: tones 80 dB under a full-scale tone stay exact, at three times the cost",
    )
    mean: tuple[float, ...] = Field(default=(0.0,), description="per mel band, or one for all")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), description="per mel band, or one for all")

    def frames(self, samples: int) -> int:
        """Frames of a waveform of so many samples; 0 if it is too short for one."""
        padded = samples + 2 * (self.n_fft // 2) if self.center else samples
        return max(0, 1 + (padded - self.n_fft) // self.hop_length)

    def band(self, sample_rate: int) -> tuple[float, float]:
        """f_min and f_max in Hz. Raises ValueError if they do not lie within what the sample rate holds."""
        f_max = sample_rate / 2 if self.f_max is None else self.f_max
        if not self.f_min < f_max <= sample_rate / 2:
            raise ValueError(
                f"mel bands from f_min {self.f_min:g} to f_max {f_max:g} Hz do not lie within 0 to {sample_rate / 2:g} Hz, "
                "half the sample rate"
            )
        return self.f_min, f_max

    @model_validator(mode="after")
    def _window_fits(self) -> LogMelFrontEnd:
        if self.win_length is not None and self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is over n_fft {self.n_fft}")
        return self

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
    def _bands_lie_within_the_sound(self) -> AudioInput:
        self.front_end.band(self.sample_rate)
        return self

    @model_validator(mode="after")
    def _window_holds_a_frame(self) -> AudioInput:
        front_end = self.front_end
        if self.window_samples < front_end.n_fft and not front_end.center:
            raise ValueError(f"window_samples {self.window_samples} is less than n_fft {front_end.n_fft}")
        if front_end.center and front_end.pad_mode == "reflect" and self.window_samples <= front_end.n_fft // 2:
            raise ValueError(
                f"window_samples {self.window_samples} cannot be padded with {front_end.n_fft // 2} reflected samples; "
                "use longer windows, or pad_mode constant"
            )
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


class NumberColumn(Strict):
    """A column of numbers: missing values are filled, then clipped, then scaled, then standardised: (value - mean) / std.

    fill, lower and upper are in the column's own unit; mean and std are of the scaled value.
    """

    kind: Literal["number"] = "number"
    name: str = Field(min_length=1)
    fill: float = Field(default=0.0, description="in place of a missing value")
    lower: float | None = Field(default=None, description="least value; lower ones are clipped")
    upper: float | None = Field(default=None, description="largest value; higher ones are clipped")
    scale: Literal["linear", "log1p"] = Field(default="linear", description="log1p: log(1 + value), for amounts and counts")
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> NumberColumn:
        lower, upper = self.lower, self.upper
        if lower is not None and upper is not None and lower >= upper:
            raise ValueError(f"column {self.name!r}: lower {lower:g} is not below upper {upper:g}")
        if self.scale == "log1p" and (lower is None or lower <= -1):
            raise ValueError(f"column {self.name!r}: log1p needs lower above -1, as in lower 0; log(1 + value) ends there")
        return self


class CategoryColumn(Strict):
    """A column of names: one feature each, 1 where the row has that name. Missing or unknown: all 0.

    In the raw tensor a name is its place in `categories`, and NaN where it is missing or unknown.
    """

    kind: Literal["category"] = "category"
    name: str = Field(min_length=1)
    categories: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> CategoryColumn:
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"column {self.name!r}: a category is named twice")
        return self


Column = Annotated[NumberColumn | CategoryColumn, Field(discriminator="kind")]


class TableFrontEnd(Strict):
    """Raw columns -> features: the numbers standardised, in order, then the categories one-hot, in order."""

    kind: Literal["table"] = "table"
    columns: tuple[Column, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> TableFrontEnd:
        names = [column.name for column in self.columns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two columns are named {', '.join(map(repr, twice))}")
        return self

    @property
    def numbers(self) -> tuple[tuple[int, NumberColumn], ...]:
        """Columns of numbers, each with its place in a row."""
        return tuple((place, each) for place, each in enumerate(self.columns) if isinstance(each, NumberColumn))

    @property
    def categories(self) -> tuple[tuple[int, CategoryColumn], ...]:
        """Columns of categories, each with its place in a row."""
        return tuple((place, each) for place, each in enumerate(self.columns) if isinstance(each, CategoryColumn))

    @property
    def features(self) -> tuple[str, ...]:
        """What the network sees, by name and in order: `amount`, `country=ES`. The order of `error_map`."""
        ones = (f"{column.name}={name}" for _, column in self.categories for name in column.categories)
        return (*(column.name for _, column in self.numbers), *ones)


class TableInput(Strict):
    """`record`: float32[batch, columns], NaN where a value is missing. float32 holds seven digits of a number."""

    modality: Literal["table"] = "table"
    front_end: TableFrontEnd

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns in the order of a row."""
        return tuple(column.name for column in self.front_end.columns)

    def tensor(self) -> TensorSpec:
        """The graph's input."""
        meaning = f"one row of columns {', '.join(self.columns)}; NaN where missing"
        return TensorSpec(name="record", dtype="float32", item_shape=(len(self.columns),), meaning=meaning)


class TensorInput(Strict):
    """A model without a front end: its own tensor, `dtype[batch, *item_shape]`."""

    modality: Literal["tensor"] = "tensor"
    name: str = "input"
    dtype: DType = "float32"
    item_shape: ItemShape

    def tensor(self) -> TensorSpec:
        """The graph's input."""
        return TensorSpec(name=self.name, dtype=self.dtype, item_shape=self.item_shape, meaning="the model's own tensor")


InputSpec = Annotated[ImageInput | AudioInput | TableInput | TensorInput, Field(discriminator="modality")]

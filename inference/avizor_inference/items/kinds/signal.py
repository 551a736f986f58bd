"""Describe signals of one or more channels (vibration, current, pressure), and turn a file of one into windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from avizor_inference.arrays import Floats
from avizor_inference.items.kinds.base import FileContent, ItemInput, Row, Span
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.items.windows import WindowFormat
from avizor_inference.strict_json import Strict

if TYPE_CHECKING:
    from avizor_inference.items.audio import Level


class SignalFrontEnd(Strict):
    """Describes the front end: (value - mean) / std of each channel, in the unit of the signal."""

    kind: Literal["signal"] = "signal"
    mean: tuple[float, ...] = Field(default=(0.0,), description="per channel, or one for all")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), description="per channel, or one for all")


@dataclass(frozen=True)
class SignalFile(FileContent):
    """Holds a file of a signal (.npy, .npz, .mat, CSV, WAV): its bytes, an open file, or a path."""

    name: ClassVar[str] = "signal"
    noun: ClassVar[str] = "a signal"
    several: ClassVar[str] = "signals"
    plural: ClassVar[str] = "signals"
    suffixes: ClassVar[frozenset[str]] = frozenset([".npy", ".npz", ".mat", ".csv", ".tsv", ".wav", ".wave", ".rf64", ".w64"])

    def rows(self, specs: Sequence[ItemInput], level: Level | None) -> Iterator[tuple[int, Row]]:
        """See Content. The file is read once for each model: each may take other columns."""
        from avizor_inference.items.signals.windows_of_signal import windows_of_signal  # not loaded to read a manifest

        with self.open() as file:
            for place, spec in enumerate(specs):
                assert isinstance(spec, SignalInput)  # it takes signals
                for window in windows_of_signal(file, spec, spec.window_format(), level):
                    yield place, Row(window.samples, Span(window.channel, window.start_sample, window.length))


class SignalInput(ItemInput):
    """Describes the input `signal`: float32[batch, channels, window_samples], of any amplitude."""

    modality: Literal["signal"] = "signal"
    channels: int = Field(gt=0)
    window_samples: int = Field(gt=0, description="samples the model sees at once")
    hop_samples: int = Field(gt=0, description="samples from the start of one window to the next")
    sample_rate: float | None = Field(default=None, gt=0, description="Hz; absent if samples have no fixed rate (steps)")
    columns: tuple[str, ...] = Field(default=(), description="names of the channels in CSV, .npz and .mat files")
    key: str | None = Field(default=None, min_length=1, description="the array of a .npz or .mat file with all channels")
    delimiter: str | None = Field(default=None, min_length=1, max_length=1, description="between the columns of a CSV file")
    front_end: SignalFrontEnd = SignalFrontEnd()

    content: ClassVar[type[SignalFile]] = SignalFile

    @model_validator(mode="after")
    def _names_fit_the_channels(self) -> SignalInput:
        if self.columns and len(self.columns) != self.channels:
            raise ValueError(f"columns names {len(self.columns)} channels, and channels is {self.channels}")
        if twice := sorted({name for name in self.columns if self.columns.count(name) > 1}):
            raise ValueError(f"columns names {twice[0]!r} twice")
        if self.delimiter and (self.delimiter in '"\r\n.' or self.delimiter.isalnum()):
            raise ValueError(f"delimiter {self.delimiter!r} cannot separate numbers; write a comma, a semicolon or a tab")
        return self

    @model_validator(mode="after")
    def _constants_fit_the_channels(self) -> SignalInput:
        for name, values in (("mean", self.front_end.mean), ("std", self.front_end.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} has {len(values)} values; give 1, or one for each of the {self.channels} channels")
        return self

    @model_validator(mode="after")
    def _windows_skip_nothing(self) -> SignalInput:
        if self.hop_samples > self.window_samples:
            raise ValueError(
                f"hop_samples {self.hop_samples} is over window_samples {self.window_samples}: samples would be skipped"
            )
        return self

    def tensor(self) -> TensorSpec:
        """Return the graph's input."""
        names = f" ({', '.join(self.columns)})" if self.columns else ""
        rate = f" at {self.sample_rate:g} Hz" if self.sample_rate else ""
        meaning = f"{self.channels} channel{'s' * (self.channels > 1)}{names} of a signal{rate}, in its own unit"
        return TensorSpec(name="signal", dtype="float32", item_shape=(self.channels, self.window_samples), meaning=meaning)

    def usual_values(self) -> tuple[Floats, Floats]:
        """Return the mean and std of each channel: float64[channels or 1, 1]."""
        return np.array(self.front_end.mean)[:, None], np.array(self.front_end.std)[:, None]

    def window_format(self) -> WindowFormat:
        """Return how recordings are cut for this model."""
        return WindowFormat(self.sample_rate, self.window_samples, self.hop_samples)

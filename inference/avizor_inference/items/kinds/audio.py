"""Describe sound, and turn a file of it into windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from avizor_inference.items.containers.detect import AUDIO_SUFFIXES
from avizor_inference.items.kinds.base import FileContent, ItemInput, Row, Span
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.items.windows import WindowFormat
from avizor_inference.strict_json import Strict

if TYPE_CHECKING:
    from avizor_inference.items.audio import Level


class LogMelFrontEnd(Strict):
    """Describes the front end: waveform -> logarithm of the mel spectrogram, standardised per mel band.

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
        """Return the number of frames of a waveform of so many samples; 0 if it is too short for one."""
        padded = samples + 2 * (self.n_fft // 2) if self.center else samples
        return max(0, 1 + (padded - self.n_fft) // self.hop_length)

    def band(self, sample_rate: int) -> tuple[float, float]:
        """Return f_min and f_max in Hz. Raises ValueError if they do not lie within what the sample rate holds."""
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


@dataclass(frozen=True)
class SoundFile(FileContent):
    """Holds an encoded sound: the bytes of a file, an open file, or a path."""

    name: ClassVar[str] = "audio"
    noun: ClassVar[str] = "audio"
    plural: ClassVar[str] = "sound"
    suffixes: ClassVar[frozenset[str]] = AUDIO_SUFFIXES

    def rows(self, specs: Sequence[ItemInput], level: Level | None) -> Iterator[tuple[int, Row]]:
        """See Content. The sound is decoded once."""
        from avizor_inference.items.audio import windows_of  # the decoders are not loaded to read a manifest

        formats = [spec.window_format() for spec in specs if isinstance(spec, AudioInput)]
        with self.open() as file:
            for format, window in windows_of(file, list(dict.fromkeys(formats)), level):
                row = Row(window.samples, Span(window.channel, window.start_sample, window.length))
                yield from ((place, row) for place, wanted in enumerate(formats) if wanted == format)


class AudioInput(ItemInput):
    """Describes the input `waveform`: float32[batch, window_samples] in [-1, 1]."""

    modality: Literal["audio"] = "audio"
    sample_rate: int = Field(gt=0, description="Hz")
    window_samples: int = Field(gt=0, description="samples the model sees at once")
    hop_samples: int = Field(gt=0, description="samples from the start of one window to the next")
    front_end: LogMelFrontEnd

    content: ClassVar[type[SoundFile]] = SoundFile
    value_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

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
        """Return the graph's input."""
        meaning = f"one channel of sound at {self.sample_rate} Hz, -1..1"
        return TensorSpec(name="waveform", dtype="float32", item_shape=(self.window_samples,), meaning=meaning)

    def window_format(self) -> WindowFormat:
        """Return how recordings are cut for this model."""
        return WindowFormat(self.sample_rate, self.window_samples, self.hop_samples)

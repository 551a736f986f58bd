"""Describe what is done to sound inside the graph: log-mel, MFCC, spectrogram, or nothing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from avizor_inference.items.kinds.mel_scale import MelScale
from avizor_inference.strict_json import Strict

# Names of the origins whose parameters are known: see sound_presets.py.
Preset = Literal["panns", "torchaudio", "librosa", "kaldi"]
# N items, C channels, F frequency bands or coefficients, T frames, S samples.
FeatureLayout = Literal["NCFT", "NCTF", "NFT", "NTF"]


class SpectralFrontEnd(Strict):
    """Describes what log-mel, MFCC and spectrogram share: frames, their spectrum, the logarithm, and the constants.

    Frame i starts at sample i * hop_length, or with `center` has its middle there (the waveform is padded by n_fft / 2 on both
    sides). A window shorter than n_fft lies in the middle of n_fft samples; with `pad_end` a frame has win_length samples and
    zeros follow. Names and defaults are librosa's, except for `center`.
    """

    preset: Preset | None = Field(default=None, description="where the values come from that were not given one by one")
    n_fft: int = Field(gt=0, description="samples")
    hop_length: int = Field(gt=0, description="samples")
    win_length: int | None = Field(default=None, gt=0, description="samples; n_fft where absent")
    window: Literal["hann", "hamming", "blackman", "boxcar", "povey"] = "hann"
    periodic: bool = Field(default=True, description="of the window; false: symmetric")
    center: bool = False
    pad_mode: Literal["constant", "reflect"] = Field(default="constant", description="how `center` pads")
    pad_end: bool = Field(default=False, description="a frame is win_length samples, and zeros up to n_fft follow")
    remove_dc: bool = Field(default=False, description="subtract the mean of each frame; needs pad_end")
    preemphasis: float = Field(
        default=0.0, ge=0, le=1, description="share of the sample before that is subtracted, per frame; needs pad_end"
    )
    scale: float = Field(default=1.0, gt=0, description="factor of the samples: 32768 for the range of 16 bits")
    power: Literal[1, 2] = Field(default=2, description="of the magnitude: 1 amplitude, 2 power")
    log: Literal["natural", "log10", "db", "none"] = Field(
        default="natural", description="db: 10 log10 of power, 20 of amplitude"
    )
    offset: float = Field(default=0.0, ge=0, description="is added before the logarithm")
    floor: float = Field(default=1e-10, gt=0, description="least value before the logarithm")
    ref: Literal["one", "max"] = Field(default="one", description="what 0 dB is: 1, or the largest value of the window")
    top_db: float | None = Field(default=None, gt=0, description="dB below the window's largest value that are kept")
    layout: FeatureLayout = "NCFT"
    compensated: bool = Field(
        default=False,
        description="carry rounding errors along: tones 80 dB under a full-scale tone stay exact, at three times the cost",
    )
    mean: tuple[float, ...] = Field(default=(0.0,), description="per band, or one for all")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), description="per band, or one for all")

    noun_of_bands: ClassVar[str]

    @property
    def bands(self) -> int:
        """Return the number of values of each frame."""
        raise NotImplementedError

    @property
    def frame_length(self) -> int:
        """Return the samples that a frame takes from the waveform."""
        return self.win_length or self.n_fft if self.pad_end else self.n_fft

    def frames(self, samples: int) -> int:
        """Return the number of frames of a waveform of so many samples; 0 if it is too short for one."""
        padded = samples + 2 * (self.n_fft // 2) if self.center else samples
        return max(0, 1 + (padded - self.frame_length) // self.hop_length)

    def fits(self, window_samples: int) -> None:
        """Raise ValueError if a window of so many samples holds no frame."""
        if window_samples < self.frame_length and not self.center:
            name = "win_length" if self.pad_end else "n_fft"
            raise ValueError(f"window_samples {window_samples} is less than {name} {self.frame_length}")
        if self.center and self.pad_mode == "reflect" and window_samples <= self.n_fft // 2:
            raise ValueError(
                f"window_samples {window_samples} cannot be padded with {self.n_fft // 2} reflected samples; "
                "use longer windows, or pad_mode constant"
            )

    @model_validator(mode="after")
    def _window_fits(self) -> SpectralFrontEnd:
        if self.win_length is not None and self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is over n_fft {self.n_fft}")
        return self

    @model_validator(mode="after")
    def _options_suit_each_other(self) -> SpectralFrontEnd:
        if self.pad_end and self.center:
            raise ValueError("pad_end is for frames that start at whole hops; leave out center, or pad_end")
        if (self.remove_dc or self.preemphasis) and not self.pad_end:
            raise ValueError("remove_dc and preemphasis are done to frames as Kaldi cuts them; they need pad_end=true")
        if (self.ref == "max" or self.top_db is not None) and self.log != "db":
            raise ValueError("ref and top_db are of decibels; they need log=db")
        return self

    @model_validator(mode="after")
    def _constants_fit_the_bands(self) -> SpectralFrontEnd:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.bands):
                raise ValueError(
                    f"{name} has {len(values)} values; give 1, or one for each of the {self.bands} {self.noun_of_bands}"
                )
        return self


class MelFrontEnd(SpectralFrontEnd):
    """Describes what log-mel and MFCC share: the mel bands."""

    mel_scale: MelScale = Field(
        default="slaney", description="kaldi: HTK's scale, with filters that are triangles in mel, not in Hz"
    )
    norm: Literal["slaney", "none"] = Field(default="slaney", description="slaney: each filter has area 1 in Hz")
    n_mels: int = Field(gt=0)
    f_min: float = Field(default=0.0, ge=0, description="Hz")
    f_max: float | None = Field(default=None, description="Hz; half the sample rate where absent")

    def band(self, sample_rate: int) -> tuple[float, float]:
        """Return f_min and f_max in Hz. Raises ValueError if they do not lie within what the sample rate holds."""
        f_max = sample_rate / 2 if self.f_max is None else self.f_max
        if not self.f_min < f_max <= sample_rate / 2:
            raise ValueError(
                f"mel bands from f_min {self.f_min:g} to f_max {f_max:g} Hz do not lie within 0 to {sample_rate / 2:g} Hz, "
                "half the sample rate"
            )
        return self.f_min, f_max


class LogMelFrontEnd(MelFrontEnd):
    """Describes the front end: waveform -> logarithm of the mel spectrogram, standardised per mel band."""

    kind: Literal["log_mel"] = "log_mel"

    noun_of_bands: ClassVar[str] = "mel bands"

    @property
    def bands(self) -> int:
        """Return the number of mel bands."""
        return self.n_mels


class MfccFrontEnd(MelFrontEnd):
    """Describes the front end: waveform -> mel-frequency cepstral coefficients, standardised per coefficient.

    They are the first n_mfcc values of the orthonormal DCT-II of the log-mel, over its bands. Lifter Q multiplies coefficient k
    by 1 + Q / 2 sin(pi (k + lifter_start) / Q), k from 0.
    """

    kind: Literal["mfcc"] = "mfcc"
    n_mfcc: int = Field(gt=0)
    lifter: float = Field(default=0.0, ge=0, description="0: none")
    lifter_start: Literal[0, 1] = Field(default=1, description="1 as librosa and HTK count, 0 as Kaldi")

    noun_of_bands: ClassVar[str] = "coefficients"

    @property
    def bands(self) -> int:
        """Return the number of coefficients."""
        return self.n_mfcc

    @model_validator(mode="after")
    def _bands_hold_the_coefficients(self) -> MfccFrontEnd:
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc {self.n_mfcc} is over n_mels {self.n_mels}")
        return self


class SpectrogramFrontEnd(SpectralFrontEnd):
    """Describes the front end: waveform -> magnitude or power of each frequency bin 0..n_fft / 2, standardised per bin."""

    kind: Literal["spectrogram"] = "spectrogram"
    log: Literal["natural", "log10", "db", "none"] = Field(default="none", description="db: 10 log10 of power, 20 of amplitude")

    noun_of_bands: ClassVar[str] = "bins"

    @property
    def bands(self) -> int:
        """Return the number of frequency bins."""
        return self.n_fft // 2 + 1


class WaveformFrontEnd(Strict):
    """Describes a network that takes the waveform: [N, channels, samples], or for layout NS [N, samples]."""

    kind: Literal["none"] = "none"
    layout: Literal["NCS", "NS"] = "NCS"

    def fits(self, window_samples: int) -> None:
        """Do nothing: a window of any length is a waveform."""


SoundFrontEnd = LogMelFrontEnd | MfccFrontEnd | SpectrogramFrontEnd | WaveformFrontEnd

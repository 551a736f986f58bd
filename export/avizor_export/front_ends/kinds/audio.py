"""Define the front end of sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from torch import Tensor, nn

from avizor_export.front_ends.fourier_stages import MOST_BLOCKS, best_split
from avizor_export.front_ends.kinds.bands import BandedFrontEnd
from avizor_export.front_ends.kinds.base import Rows
from avizor_export.front_ends.log_mel import LogMel
from avizor_export.front_ends.mel_filters import empty_bands
from avizor_export.front_ends.mfcc import Mfcc
from avizor_export.front_ends.spectrogram import Spectrogram
from avizor_export.front_ends.waveform import Waveform
from avizor_inference.items.kinds.audio import AudioInput
from avizor_inference.items.kinds.sound_front_ends import (
    LogMelFrontEnd,
    MelFrontEnd,
    MfccFrontEnd,
    SpectralFrontEnd,
    WaveformFrontEnd,
)
from avizor_inference.strict_json import Strict

# Points of the inner sum beyond which a transform takes several times an FFT's time.
_MOST_POINTS = 256
_NAMES = {"log_mel": "log-mel", "mfcc": "MFCC", "spectrogram": "spectrogram", "none": "waveform"}
# Shown in rows of their own.
_NOT_LISTED = {"kind", "mean", "std", "f_min", "f_max"}


class FrontEnd(BandedFrontEnd[AudioInput]):
    """Computes log-mel, MFCC or spectrogram, or passes the waveform on. Its constants are mean and std of each band.

    Bands are mel bands, coefficients or frequency bins. Several channels of one item share the constants of a band.
    """

    nothing_to_fit: ClassVar[str] = "a network that takes the waveform itself has no front end with constants to fit"

    def module(self) -> nn.Module:
        """See KindOfFrontEnd."""
        front_end = self.spec.front_end
        if isinstance(front_end, WaveformFrontEnd):
            return Waveform(front_end)
        if isinstance(front_end, LogMelFrontEnd):
            return LogMel(front_end, self.spec.sample_rate)
        if isinstance(front_end, MfccFrontEnd):
            return Mfcc(front_end, self.spec.sample_rate)
        return Spectrogram(front_end)

    def parts(self) -> Sequence[Strict]:
        """See KindOfFrontEnd. A waveform has none."""
        return () if isinstance(self.spec.front_end, WaveformFrontEnd) else super().parts()

    def fit(self, items: Iterable[Tensor]) -> Sequence[Strict]:
        """See KindOfFrontEnd."""
        if not self.parts():
            raise ValueError(self.nothing_to_fit)
        return super().fit(items)

    def bands(self, features: Tensor) -> Tensor:
        """See BandedFrontEnd."""
        return features.movedim(self.spec.front_end.layout.index("F"), 1).flatten(2)

    def warnings(self) -> Iterator[str]:
        """Yield mel bands that hold nothing, and sizes that are slow."""
        front_end = self.spec.front_end
        if isinstance(front_end, MelFrontEnd) and (empty := empty_bands(front_end, self.spec.sample_rate)):
            yield (
                f"{empty} of the {front_end.n_mels} mel bands hold no frequency bin and are constant; "
                "right for a network that was trained so, else use fewer bands or a larger n_fft"
            )
        if isinstance(front_end, WaveformFrontEnd):
            return
        n_fft, hop = front_end.n_fft, front_end.hop_length
        if best_split(n_fft, hop, cut_first=front_end.pad_end).a > _MOST_POINTS:
            yield (
                f"the {_NAMES[front_end.kind]} of n_fft {n_fft} and hop_length {hop} takes several times an FFT's time; "
                "for a new network choose an n_fft with small factors, such as a power of two, and at most "
                f"{MOST_BLOCKS} hops to n_fft"
            )

    def table(self) -> Rows:
        """Return every parameter."""
        front_end = self.spec.front_end
        shown = front_end.model_dump(exclude=_NOT_LISTED)
        rows = [*shown.items()]
        if isinstance(front_end, SpectralFrontEnd):
            rows = [*(shown | {"win_length": front_end.win_length or front_end.n_fft}).items()]
            if isinstance(front_end, MelFrontEnd):
                f_min, f_max = front_end.band(self.spec.sample_rate)
                rows += [("band, Hz", f"{f_min:g} to {f_max:g}")]
            rows += [("mean", _summary(front_end.mean)), ("std", _summary(front_end.std))]
        return [(_NAMES[front_end.kind], "value"), *((name, str(value)) for name, value in rows)]


def _summary(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:g}"
    return f"{min(values):.4g} to {max(values):.4g}, one for each of {len(values)} bands (manifest.json)"

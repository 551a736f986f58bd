"""Define the front end of sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from avizor_export.front_ends.fourier_stages import MOST_BLOCKS, best_split
from avizor_export.front_ends.kinds.bands import BandedFrontEnd
from avizor_export.front_ends.kinds.base import Rows
from avizor_export.front_ends.log_mel import LogMel
from avizor_export.front_ends.mel_filters import empty_bands
from avizor_inference.items.kinds.audio import AudioInput

# Points of the inner sum beyond which a transform takes several times an FFT's time.
_MOST_POINTS = 256


class FrontEnd(BandedFrontEnd[AudioInput]):
    """Computes the log-mel spectrogram. Its constants are mean and std of each mel band."""

    def module(self) -> nn.Module:
        """See KindOfFrontEnd."""
        return LogMel(self.spec.front_end, self.spec.sample_rate)

    def bands(self, features: Tensor) -> Tensor:
        """See BandedFrontEnd."""
        return features[:, 0]

    def warnings(self) -> Iterator[str]:
        """Yield mel bands that hold nothing, and sizes that are slow."""
        front_end = self.spec.front_end
        if empty := empty_bands(front_end, self.spec.sample_rate):
            yield (
                f"{empty} of the {front_end.n_mels} mel bands hold no frequency bin and are constant; "
                "right for a network that was trained so, else use fewer bands or a larger n_fft"
            )
        n_fft, hop = front_end.n_fft, front_end.hop_length
        if best_split(n_fft, hop).a > _MOST_POINTS:
            yield (
                f"the log-mel of n_fft {n_fft} and hop_length {hop} takes several times an FFT's time; for a new network "
                f"choose an n_fft with small factors, such as a power of two, and at most {MOST_BLOCKS} hops to n_fft"
            )

    def table(self) -> Rows:
        """Return every parameter."""
        front_end = self.spec.front_end
        f_min, f_max = front_end.band(self.spec.sample_rate)
        shown = front_end.model_dump(exclude={"kind", "mean", "std", "f_min", "f_max"})
        shown["win_length"] = front_end.win_length or front_end.n_fft
        rows = [*shown.items(), ("band, Hz", f"{f_min:g} to {f_max:g}")]
        rows += [("mean", _summary(front_end.mean)), ("std", _summary(front_end.std))]
        return [("log-mel", "value"), *((name, str(value)) for name, value in rows)]


def _summary(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:g}"
    return f"{min(values):.4g} to {max(values):.4g}, one for each of {len(values)} bands (manifest.json)"

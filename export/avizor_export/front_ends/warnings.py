"""Warnings about a front end that is unusual, but may be intended."""

from __future__ import annotations

from collections.abc import Iterator

from avizor_export.front_ends.fourier_stages import MOST_BLOCKS, best_split
from avizor_export.front_ends.mel_filters import empty_bands
from avizor_inference.items.inputs import AudioInput, ImageInput, InputSpec

# Points of the inner sum beyond which a transform takes several times an FFT's time.
_MOST_POINTS = 256


def front_end_warnings(spec: InputSpec) -> Iterator[str]:
    """Yield what is unusual about the front end, each as a sentence without its full stop."""
    if isinstance(spec, ImageInput):
        yield from _off_scale(spec)
    elif isinstance(spec, AudioInput):
        yield from _on_bands(spec)
        yield from _on_cost(spec)


def _off_scale(spec: ImageInput) -> Iterator[str]:
    for name, values in (("mean", spec.front_end.mean), ("std", spec.front_end.std)):
        if off := [value for value in values if not 0 <= value <= 1]:
            listed = ", ".join(f"{value:g}" for value in off)
            yield f"{name} {listed} is not on the 0..1 scale of pixels / 255; divide by 255 if it was taken on 0..255"


def _on_bands(spec: AudioInput) -> Iterator[str]:
    if empty := empty_bands(spec.front_end, spec.sample_rate):
        yield (
            f"{empty} of the {spec.front_end.n_mels} mel bands hold no frequency bin and are constant; "
            "right for a network that was trained so, else use fewer bands or a larger n_fft"
        )


def _on_cost(spec: AudioInput) -> Iterator[str]:
    n_fft, hop = spec.front_end.n_fft, spec.front_end.hop_length
    if best_split(n_fft, hop).a > _MOST_POINTS:
        yield (
            f"the log-mel of n_fft {n_fft} and hop_length {hop} takes several times an FFT's time; for a new network choose an "
            f"n_fft with small factors, such as a power of two, and at most {MOST_BLOCKS} hops to n_fft"
        )

"""Describe an item whose model is not at hand, as far as it can be shown all the same."""

from __future__ import annotations

from avizor_inference.items.input_spec import AudioInput, ImageInput, InputSpec, WaveformFrontEnd
from avizor_review.results import Results

# Pixels of a side in which a picture is shown.
_SIDE = 384


def plain_spec(results: Results, uri: str, model: str) -> InputSpec | None:
    """Return how an item is read and drawn without its model: sound by the places of its windows, pictures as they are.

    None for anything else: what a row or a signal holds, its model alone tells.
    """
    contents = results.job.contents
    if "audio" in contents and (sound := _sound(results, uri, model)):
        return sound
    if "image" in contents:
        return ImageInput(height=_SIDE, width=_SIDE, channels=3, resize=(_SIDE, _SIDE), fit="letterbox", pad=(128,))
    return None


def _sound(results: Results, uri: str, model: str) -> AudioInput | None:
    """Return windows at the places that the table `windows` has; None if it has none with a sample rate."""
    windows = results.windows(uri, model, limit=64)
    first = windows[0] if windows else None
    if first is None or first.start_sample is None or first.end_sample is None or not first.end_s:
        return None
    rate = round(first.end_sample / first.end_s)
    starts = sorted({window.start_sample for window in windows if window.start_sample is not None})
    length = first.end_sample - first.start_sample
    hop = starts[1] - starts[0] if len(starts) > 2 else length
    front_end = WaveformFrontEnd()
    return AudioInput(sample_rate=rate, window_samples=length, hop_samples=min(hop, length), front_end=front_end)

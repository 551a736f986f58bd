"""Generate sounds, and describe them as a model's input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from avizor_inference.items.input_spec import AudioInput, LogMelFrontEnd

SAMPLE_RATE = 8000

SOUND = AudioInput(
    sample_rate=SAMPLE_RATE,
    window_samples=4096,
    hop_samples=4096,
    front_end=LogMelFrontEnd(n_fft=256, hop_length=240, n_mels=16, floor=1e-6, mean=(-5.0,), std=(3.0,)),
)
FRAMES = 17  # of a window of SOUND


def tone(seconds: float, seed: int = 0, hz: float = 440.0) -> NDArray[np.float32]:
    """Return a tone in a little noise: float32[samples] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * hz * time) + 0.02 * rng.standard_normal(len(time))).astype(np.float32)


def write_long_wav(path: Path, seconds: float, seed: int = 0) -> Path:
    """Write a tone as a WAV file of 64 bits a sample, a MiB for 16.4 s: it is large, and has few windows. Folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds, seed=seed), SAMPLE_RATE, subtype="DOUBLE")
    return path


def write_wav(path: Path, samples: NDArray[np.float32], rate: int = SAMPLE_RATE) -> Path:
    """Write a 16-bit WAV file, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path

"""What the presets of sound are compared with: the front ends, by name, and the sounds.

The numbers of torchaudio, torchlibrosa and Kaldi are stored beside this file, in origin_numbers.npz; tests/support/scripts/
origin_numbers.py computed them. librosa is installed for tests, and computes its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.signal
from numpy.typing import NDArray

NUMBERS = Path(__file__).with_name("origin_numbers.npz")
SAMPLES = 4800

# Name -> what --input says besides the windows.
STORED = {
    "torchlibrosa": "preset=panns",
    "torchaudio_db": "preset=torchaudio",
    "torchaudio_mel": "preset=torchaudio,n_fft=1024,hop_length=320,n_mels=64,log=none",
    "torchaudio_log": "preset=torchaudio,n_fft=512,n_mels=64,log=natural,offset=1e-6,floor=1e-30",
    "torchaudio_mfcc": "front_end=mfcc,preset=torchaudio,n_mfcc=13,n_mels=40",
    "torchaudio_mfcc_log": "front_end=mfcc,preset=torchaudio,log=natural,offset=1e-6,floor=1e-30",
    "torchaudio_spectrogram": "front_end=spectrogram,preset=torchaudio",
    "kaldi": "preset=kaldi,n_mels=80",
    "kaldi_8k": "preset=kaldi,n_mels=40,sample_rate=8000,window=hamming",
    "kaldi_mfcc": "front_end=mfcc,preset=kaldi",
    "torchaudio_kaldi": "preset=kaldi,n_mels=128,window=hann,scale=1",
}


def description(fields: str) -> str:
    """Return the whole of --input, for one window of SAMPLES."""
    return f"audio:window_samples={SAMPLES},hop_samples={SAMPLES},{fields}"


def sounds() -> NDArray[np.float32]:
    """Return a hum with harmonics, a gliding tone, noise, and silence: whole 16-bit values, float32[4, SAMPLES] in [-1, 1]."""
    rng, time = np.random.default_rng(0), np.arange(SAMPLES) / 16_000
    hum = 0.4 * scipy.signal.sawtooth(2 * np.pi * (120 * time + 0.6 * np.sin(5 * time))) * np.exp(-3 * (time % 0.15)) + 0.01
    glide = 0.5 * np.sin(2 * np.pi * (100 * time + 5000 * time**2))
    noise = 0.1 * rng.standard_normal(SAMPLES)
    quiet = 0.001 * rng.standard_normal(SAMPLES)
    rows = np.stack([hum + quiet, glide + quiet, noise, np.zeros(SAMPLES)])
    return (np.round(rows * 32768).clip(-32768, 32767) / 32768).astype(np.float32)

"""Compute origin_numbers.npz: what torchaudio, torchlibrosa and Kaldi make of the sounds of support/origins.py.

    pip install torchaudio==2.11.0 torchlibrosa==0.1.0 kaldi-native-fbank==1.23.0
    PYTHONPATH=tests python tests/support/scripts/origin_numbers.py

kaldi-native-fbank is Kaldi's own feature code without the rest of Kaldi.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kaldi_native_fbank as knf
import numpy as np
import torch
import torchaudio
from torchaudio.transforms import MFCC, AmplitudeToDB, MelSpectrogram, Spectrogram
from torchlibrosa import stft

from support.origins import NUMBERS, STORED, sounds

Features = Callable[[torch.Tensor], Any]  # of float32[1, samples]


def kaldi(extractor: Any, rate: int, window: str = "povey", bands: int = 23) -> Features:
    """Kaldi's features of one waveform in the range of 16 bits: [frames, bands]."""

    def features(sound: torch.Tensor) -> Any:
        options = knf.FbankOptions() if extractor is knf.OnlineFbank else knf.MfccOptions()
        options.frame_opts.samp_freq, options.frame_opts.dither, options.frame_opts.window_type = rate, 0.0, window
        options.mel_opts.num_bins = bands
        if extractor is knf.OnlineMfcc:
            options.use_energy = False
        online = extractor(options)
        online.accept_waveform(rate, (sound[0] * 32768).tolist())
        online.input_finished()
        return np.stack([online.get_frame(frame) for frame in range(online.num_frames_ready)])

    return features


def torchlibrosa(sound: torch.Tensor) -> Any:
    """The front end of PANNs (Cnn14 and others)."""
    spectrogram = stft.Spectrogram(n_fft=1024, hop_length=320, win_length=1024, window="hann", center=True, pad_mode="reflect")
    bank = stft.LogmelFilterBank(sr=32_000, n_fft=1024, n_mels=64, fmin=50, fmax=14_000, ref=1.0, amin=1e-10, top_db=None)
    return bank(spectrogram(sound))[0]


def audio_spectrogram_transformer(sound: torch.Tensor) -> Any:
    """The features of the Audio Spectrogram Transformer."""
    return torchaudio.compliance.kaldi.fbank(
        sound, htk_compat=True, sample_frequency=16_000, window_type="hanning", num_mel_bins=128, dither=0.0, frame_shift=10
    )


COMPUTE: dict[str, Features] = {
    "torchlibrosa": torchlibrosa,
    "torchaudio_db": lambda sound: AmplitudeToDB()(MelSpectrogram(16_000)(sound)),
    "torchaudio_mel": lambda sound: MelSpectrogram(16_000, n_fft=1024, hop_length=320, n_mels=64)(sound),
    "torchaudio_log": lambda sound: torch.log(MelSpectrogram(16_000, n_fft=512, n_mels=64)(sound) + 1e-6),
    "torchaudio_mfcc": lambda sound: MFCC(16_000, n_mfcc=13, melkwargs={"n_mels": 40})(sound),
    "torchaudio_mfcc_log": lambda sound: MFCC(16_000, log_mels=True)(sound),
    "torchaudio_spectrogram": lambda sound: Spectrogram()(sound),
    "kaldi": kaldi(knf.OnlineFbank, 16_000, bands=80),
    "kaldi_8k": kaldi(knf.OnlineFbank, 8_000, "hamming", 40),
    "kaldi_mfcc": kaldi(knf.OnlineMfcc, 16_000),
    "torchaudio_kaldi": audio_spectrogram_transformer,
}


if __name__ == "__main__":
    rows = torch.from_numpy(sounds())
    with torch.no_grad():
        numbers = {name: np.stack([np.asarray(COMPUTE[name](row[None])) for row in rows]) for name in STORED}
    np.savez_compressed(NUMBERS, allow_pickle=False, sounds=sounds(), **numbers)

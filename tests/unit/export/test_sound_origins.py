"""Presets against the numbers of the libraries that they are named after. docs/sound.md states the bounds.

float32 sums in another order differ most where a sound has least energy, far below its loudest band: decibels are compared
within 60 dB of it, everything else as shares of the largest value.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from support.origins import NUMBERS, SAMPLES, STORED, description, sounds
from torch import Tensor, nn

from avizor_export.front_ends.build import build_front_end
from avizor_export.graph.to_onnx import to_program
from avizor_export.networks.input_description import parse_input

Numbers = NDArray[np.float32]


def mel(sound: Numbers) -> Numbers:
    return np.asarray(librosa.feature.melspectrogram(y=sound, sr=22_050))


LIBROSA: dict[str, Callable[[Numbers], Any]] = {
    "preset=librosa": lambda sound: librosa.power_to_db(mel(sound)),
    "preset=librosa,ref=max": lambda sound: librosa.power_to_db(mel(sound), ref=np.max),
    "preset=librosa,log=none": mel,
    "front_end=mfcc,preset=librosa": lambda sound: librosa.feature.mfcc(y=sound, sr=22_050),
    "front_end=mfcc,preset=librosa,lifter=22": lambda sound: librosa.feature.mfcc(y=sound, sr=22_050, lifter=22),
    "front_end=spectrogram,preset=librosa": lambda sound: np.abs(librosa.stft(sound)),
    "front_end=spectrogram,preset=librosa,log=db,floor=1e-5,ref=max,top_db=80": lambda sound: librosa.amplitude_to_db(
        np.abs(librosa.stft(sound)), ref=np.max
    ),
}


@functools.cache
def stored() -> dict[str, Numbers]:
    with np.load(NUMBERS) as file:
        return dict(file)


def ours(fields: str) -> nn.Module:
    return build_front_end(parse_input(description(fields)))


def agree(found: Numbers, expected: Numbers, fields: str) -> None:
    assert found.shape == expected.shape
    difference = np.abs(found.astype(np.float64) - expected)
    if "log=none" in fields or ("spectrogram" in fields and "log=" not in fields) or "mfcc" in fields:
        assert (difference <= 1e-4 * np.abs(expected).max(axis=(1, 2, 3), keepdims=True)).all()
        return
    # In the unit of the logarithm: 60 dB of power are 13.8 nepers.
    natural = "kaldi" in fields or "natural" in fields
    loud = expected >= expected.max(axis=(1, 2, 3), keepdims=True) - (13.8 if natural else 60)
    assert difference[loud].max() <= 1e-3
    assert difference.max() <= 0.1  # below that, the bands of the gliding tone that hold nothing but rounding errors


def with_channel(expected: Numbers) -> Numbers:
    return expected if expected.ndim == 4 else expected[:, None]


def test_the_stored_numbers_are_of_these_sounds() -> None:
    np.testing.assert_array_equal(stored()["sounds"], sounds())
    assert set(stored()) == {"sounds", *STORED}


@pytest.mark.parametrize("name", STORED)
def test_presets_agree_with_stored_numbers(name: str) -> None:
    with torch.inference_mode():
        found = ours(STORED[name])(torch.from_numpy(sounds())).numpy()
    assert found.shape == stored()[name].shape  # the layout is that of the origin
    agree(with_channel(found), with_channel(stored()[name]), STORED[name])


@pytest.mark.parametrize("fields", LIBROSA)
def test_presets_agree_with_librosa(fields: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of silence
        expected = np.stack([LIBROSA[fields](sound) for sound in sounds()])[:, None]
    with torch.inference_mode():
        found = ours(fields)(torch.from_numpy(sounds())).numpy()
    agree(found, expected, fields)


class Several(nn.Module):
    """Several front ends on one waveform: one export for all costs a fraction of an export for each."""

    def __init__(self, front_ends: list[nn.Module]) -> None:
        super().__init__()
        self.front_ends = nn.ModuleList(front_ends)

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        return tuple(front_end(waveform) for front_end in self.front_ends)


@pytest.mark.slow  # each export proves its graph against the torch module, and docs export some
def test_presets_agree_in_the_graph_too() -> None:
    names = ["torchlibrosa", "torchaudio_mfcc", "torchaudio_spectrogram", "kaldi"]
    front_ends = Several([ours(STORED[name]) for name in names])
    program = to_program(front_ends, torch.zeros(2, SAMPLES), ["waveform"], names, optimize=False)
    session = ort.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for name, found in zip(names, session.run(None, {"waveform": sounds()}), strict=True):
        agree(with_channel(found), with_channel(stored()[name]), STORED[name])

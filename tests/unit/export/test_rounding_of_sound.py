"""parity/rounding.py: the front end of sound rounds quiet bands beside loud ones, and the proof lets that be."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from avizor_export.front_ends.build import build_front_end
from avizor_export.graph.output_options import OutputOptions
from avizor_export.graph.wrapped_autoencoder import WrappedAutoencoder
from avizor_export.parity.compare import compare_runs, torch_run
from avizor_export.parity.rounding import with_rounding_of_sound
from avizor_export.parity.soundness import Run
from avizor_export.parity.tolerances import NOISE
from avizor_inference.arrays import Items
from avizor_inference.errors import ParityError
from avizor_inference.items.input_spec import AudioInput, LogMelFrontEnd, TensorInput

INPUT = AudioInput(
    sample_rate=8000,
    window_samples=2304,
    hop_samples=2304,
    front_end=LogMelFrontEnd(n_fft=512, hop_length=256, n_mels=64, mean=(-7.0,), std=(3.0,)),
)


class Smooth(nn.Module):
    """Reconstructs each feature as the mean of those beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d((5, 3), 1, (2, 1), count_include_pad=False)

    def forward(self, features: Tensor) -> Tensor:
        smooth: Tensor = self.pool(features)
        return smooth


def voices() -> Items:
    """Return eight windows of a loud voice of a few harmonics; nearly 90 dB below it is noise."""
    random, time = np.random.default_rng(0), np.arange(2304) / 8000
    pitches = np.linspace(90, 240, 8)[:, None, None] * np.arange(1, 6)[:, None]
    voice = 0.2 * np.sin(2 * np.pi * pitches * time).sum(1)
    return np.asarray(voice + 2e-5 * random.standard_normal(voice.shape), np.float32)


def wrapped() -> WrappedAutoencoder:
    return WrappedAutoencoder(build_front_end(INPUT), Smooth(), {}, torch.from_numpy(voices()), OutputOptions())


def elsewhere(model: WrappedAutoencoder, wrong: str = "") -> Run:
    """Return the model with a front end that rounds otherwise: only its result is rounded. wrong: an output that is 5 % off."""
    other = copy.deepcopy(model)
    front_end = other.front_end.double()
    other.front_end = Rounded(front_end)

    def run(items: Items) -> dict[str, Items]:
        outputs = other.as_reference(items)
        return {name: np.multiply(values, 1.05 if name == wrong else 1) for name, values in outputs.items()}

    return run


class Rounded(nn.Module):
    """Runs a front end in float64, and returns float32."""

    def __init__(self, exact: nn.Module) -> None:
        super().__init__()
        self.exact = exact

    def forward(self, waveforms: Tensor) -> Tensor:
        features: Tensor = self.exact(waveforms.double())
        return features.float()


def test_rounding_of_quiet_bands_is_no_wrong_error_map() -> None:
    model, items = wrapped(), voices()
    with pytest.raises(ParityError, match="error_map by up to"):  # else this test would show nothing
        compare_runs(torch_run(model), elsewhere(model), INPUT, items, "torch")
    reference = with_rounding_of_sound(torch_run(model), model, INPUT)
    report = compare_runs(reference, elsewhere(model), INPUT, items, "torch")
    assert report.passed
    assert 1e-5 < report.own_rounding["error_map"] < 2e-2


@pytest.mark.parametrize("name", ["error_map", "score"])
def test_what_is_wrong_beyond_it_is_seen(name: str) -> None:
    model = wrapped()
    reference = with_rounding_of_sound(torch_run(model), model, INPUT)
    with pytest.raises(ParityError, match=rf"{name} by up to .* for its own rounding\)"):
        compare_runs(reference, elsewhere(model, wrong=name), INPUT, voices(), "torch")


def test_silence_rounds_nothing_and_has_the_same_outputs() -> None:
    model = wrapped()
    reference = with_rounding_of_sound(torch_run(model), model, INPUT)
    silent, loud = reference(np.zeros_like(voices())), reference(voices())
    assert silent.keys() == loud.keys()
    assert not any(silent[name].any() for name in silent if name.startswith(NOISE))
    assert loud[f"{NOISE}error_map"].any()


def test_what_is_no_sound_is_left_as_it_is() -> None:
    model = wrapped()
    run = torch_run(model)
    assert with_rounding_of_sound(run, model, TensorInput(name="features", item_shape=(6,))) is run

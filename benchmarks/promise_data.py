"""Provide normal recordings as lists of window scores: from trained models of the examples, and constructed ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import bank_transfers
import machine_anomalies
import spoken_digits
import transfers
from training import in_batches, train_autoencoder

from avizor_export.architectures.catalogue import build_autoencoder
from avizor_export.front_ends.build import build_front_end, fit_constants
from avizor_export.graph.wrap import wrap
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.items.data.table_data import read_table
from avizor_inference.items.input_spec import AudioInput, LogMelFrontEnd

# Scores of the windows of one recording.
Scores = NDArray[np.float64]
# A generator of random numbers and a number of recordings -> that number of normal recordings.
Draw = Callable[[np.random.Generator, int], list[Scores]]

# Windows of 16 frames, of which a digit has 1 to 16, and of 64 frames, which is longer than most digits.
DIGIT_WINDOW, LONG_DIGIT_WINDOW = 1088, 4160


def digit_sound(window_samples: int) -> AudioInput:
    """Return what a model of spoken digits takes, with windows of this length."""
    front_end = LogMelFrontEnd(n_fft=128, hop_length=64, n_mels=32, floor=1e-8)
    return AudioInput(sample_rate=8000, window_samples=window_samples, hop_samples=window_samples, front_end=front_end)


def draw_from(recordings: Sequence[Scores]) -> Draw:
    """Return a function that draws recordings from a fixed set at random, each at most once."""

    def draw(rng: np.random.Generator, count: int) -> list[Scores]:
        return [recordings[place] for place in rng.permutation(len(recordings))[:count]]

    return draw


def machine_sounds(folder: Path) -> tuple[list[Scores], list[Scores]]:
    """Return normal and faulty recordings of the example's machines that its model was not trained on."""
    train, calibration, test = machine_anomalies.make_and_read(folder / "sounds", 0)
    sound = fit_constants(machine_anomalies.SOUND, torch.from_numpy(np.concatenate(train.windows)).split(64))
    machine_anomalies.train_and_export_detector(train, calibration, test, sound, folder / "models")
    windows = [*calibration.windows, *test.windows]
    with EmbeddedEngine(folder / "models") as engine:
        scores = [
            infer_rows(engine, InferRequest("machine-sound", {"waveform": item}, ["score"]))["score"][:, 0].astype(float)
            for item in windows
        ]
    faulty = [*calibration.faulty, *test.faulty]
    normal = [item for item, is_faulty in zip(scores, faulty, strict=True) if not is_faulty]
    return normal, [item for item, is_faulty in zip(scores, faulty, strict=True) if is_faulty]


def bank_rows(folder: Path) -> list[Scores]:
    """Return correct transfers from the example's generator that its model was not trained on."""
    bank_transfers.make(folder / "transfers", 0)
    bank_transfers.train_and_export(folder / "transfers", folder / "models")
    rows = [read_table(folder / "transfers" / "calibration.csv", bank_transfers.TRANSFER).rows()]
    test = read_table(folder / "transfers" / "test.csv", bank_transfers.TRANSFER)
    rows.append(test.rows()[np.array(test.texts("kind")) == transfers.CORRECT])
    with EmbeddedEngine(folder / "models") as engine:
        scores = infer_rows(engine, InferRequest("bank-transfers", {"record": np.concatenate(rows)}, ["score"]))["score"]
    return [row.astype(float) for row in scores]


def digits(data: Path, window_samples: int) -> tuple[list[Scores], list[Scores]]:
    """Return spoken digits that an autoencoder was not trained on: those of a window or more, and those shorter than one."""
    sound = digit_sound(window_samples)
    recordings = spoken_digits.read(data, sound)
    waveforms = torch.from_numpy(np.concatenate([each.windows for each in recordings if each.index >= 30]))
    sound = fit_constants(sound, waveforms.split(256))
    features = in_batches(build_front_end(sound), waveforms)
    torch.manual_seed(0)
    network = build_autoencoder("conv16s2bn conv32s2bn latent24", tuple(features.shape[1:]))
    train_autoencoder(network, features, epochs=10, batch_size=64)
    whole: list[Scores] = []
    short: list[Scores] = []
    with wrap(network, sound, "reconstruct", waveforms[:2]) as served, torch.inference_mode():
        for each in recordings:
            if each.index < 30:
                path = data / f"{each.digit}_{each.speaker}_{each.index}.wav"
                kind = short if soundfile.info(path).frames < window_samples else whole
                kind.append(served.named(torch.from_numpy(each.windows))["score"][:, 0].double().numpy())
    return whole, short


# Constructed recordings have a random level and noise, both log-normal, like the reconstruction errors of real sound.
LEVEL, NOISE = 0.2, 0.4


def constructed(shortest: int, longest: int, *, odd_first: float = 1.0, odd_last: float = 1.0) -> Draw:
    """Return a function that draws recordings with lengths between the two limits, in windows.

    odd_first, odd_last: factors on the score of the first and the last window, as at a start or a fade.
    """

    def draw(rng: np.random.Generator, count: int) -> list[Scores]:
        recordings = [windows(rng, int(length)) for length in rng.integers(shortest, longest + 1, count)]
        for scores in recordings:
            scores[0] *= odd_first
            scores[-1] *= odd_last
        return recordings

    return draw


def tied(draw: Draw) -> Draw:
    """Return a function that draws the same recordings with scores rounded to coarse steps, plus the rounding of an engine."""

    def rounded(rng: np.random.Generator, count: int) -> list[Scores]:
        return [np.round(scores * 2) / 2 * (1 + rng.uniform(-2e-7, 2e-7, len(scores))) for scores in draw(rng, count)]

    return rounded


def windows(rng: np.random.Generator, count: int) -> Scores:
    """Draw the scores of one normal recording with this number of windows."""
    return np.asarray(np.exp(LEVEL * rng.standard_normal() + NOISE * rng.standard_normal(count)))

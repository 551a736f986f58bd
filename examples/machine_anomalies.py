"""Machine sounds: train a detector on normal sound only and a classifier of the machine type, and export both.

    python examples/machine_anomalies.py --data sounds --models models

Generates the data first if there is none (see machine_sounds.py): `train` and `calibration` hold normal recordings only, `test`
also faulty ones, which are never used for training or calibration.

It prints, before what it published:

    ROC AUC over 464 recordings: 0.995; loudness and brightness alone: 0.510
      bearing        0.997   (fault to signal -21 to -12 dB)
      imbalance      0.998   (fault to signal -10 to -3 dB)
      rubbing        1.000   (fault to signal -18 to -11 dB)
      missing_blade  0.998   (fault to signal -7 to -2 dB)
      dropout        0.985   (fault to signal -16 to -11 dB)
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from baselines import contexts, dense, errors, pca, pca_errors
from machine_sounds import NORMAL, generate
from machine_synthesis.faults import FAULT_TO_SIGNAL_DB
from machine_synthesis.signals import SAMPLE_RATE, WINDOW_SAMPLES
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from training import in_batches, random_crops, train_classifier

from avizor_export import (
    ExportRequest,
    WrappedNetwork,
    build,
    build_front_end,
    describe_export,
    export_model,
    fit_constants,
    train_detector,
    wrap,
)
from avizor_inference import AudioInput, ItemScore, LogMelFrontEnd, NormalRecording, windows_of

BANDS = 64
SOUND = AudioInput(
    sample_rate=SAMPLE_RATE,
    window_samples=WINDOW_SAMPLES,  # 2.08 s: 64 frames
    hop_samples=WINDOW_SAMPLES,
    front_end=LogMelFrontEnd(n_fft=1024, hop_length=512, n_mels=BANDS),
)
FRAMES = 64
LATENT = 24  # numbers of the detector's latent vector, and principal components of the comparison
ENDING = 8  # one of so many recordings of the training ends it
STEPS_BETWEEN = 300  # of the training, between two lines about it
# The average over the map at the end makes the position in time irrelevant.
CLASSIFIER = "conv8bn pool conv16bn pool conv24bn pool conv32bn pool gap drop0.3 fc"

# split -> recordings of each machine: normal, and of each of its faults
RECORDINGS = {"train": (60, 0), "calibration": (40, 0), "test": (40, 8)}


class Split(NamedTuple):
    """Holds recordings with their labels, cut into windows in the same way as for the exported models."""

    windows: list[NDArray[np.float32]]  # float32[windows, window_samples] each
    machine: NDArray[np.str_]
    kind: NDArray[np.str_]
    condition: NDArray[np.str_]

    @property
    def faulty(self) -> NDArray[np.bool_]:
        """Return a mask that is True for recordings with a fault."""
        return np.asarray(self.condition != NORMAL)


def make_and_read(folder: Path, seed: int) -> tuple[Split, ...]:
    """Return the splits in the order of RECORDINGS; those that do not exist yet are generated."""
    for name, (normal, faulty) in RECORDINGS.items():
        if not (folder / name / "labels.csv").exists():
            generate(folder, name, normal, faulty, seed)
    return tuple(read(folder / name) for name in RECORDINGS)


def read(folder: Path) -> Split:
    """Read one split by its labels.csv."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    windows = [_windows(folder / row["file"]) for row in rows]
    columns = (np.array([row[name] for row in rows]) for name in ("machine_id", "machine_type", "condition"))
    return Split(windows, *columns)


def _windows(path: Path) -> NDArray[np.float32]:
    return np.stack([window.samples for _, window in windows_of(path, [SOUND.window_format()])])


def spectrograms(front_end: nn.Module, split: Split) -> Tensor:
    """Return standardised log-mels of whole recordings, of which training uses any part: float32[n, 1, mels, frames]."""
    return in_batches(front_end, torch.from_numpy(np.stack([windows.reshape(-1) for windows in split.windows])), 32)


def scores(served: nn.Module, split: Split) -> NDArray[np.float64]:
    """Return the score of each recording over all its windows."""
    by_window = (in_batches(served, torch.from_numpy(windows))[:, 0].numpy() for windows in split.windows)
    return np.array([ItemScore.of(scores).value for scores in by_window])


def auc_by_fault(score: NDArray[np.float64], split: Split) -> dict[str, float]:
    """Return the area under the ROC curve against all normal recordings: overall, and for each fault."""
    metrics = {"overall": float(roc_auc_score(split.faulty, score))}
    for fault in FAULT_TO_SIGNAL_DB:
        chosen = (split.condition == fault) | ~split.faulty
        metrics[fault] = float(roc_auc_score(split.faulty[chosen], score[chosen]))
    return metrics


def baseline_auc(train: Split, test: Split) -> float:
    """Return the best ROC AUC from loudness and brightness alone: z-scores of log-energy and spectral centroid.

    It is the best of four variants: fitted to all machines or to each one, and the largest z-score or the sum of squares.
    """
    known, new = _loudness_and_brightness(train), _loudness_and_brightness(test)
    everything = np.zeros_like(test.machine)
    best = 0.0
    for known_group, new_group in ((train.machine, test.machine), (np.zeros_like(train.machine), everything)):
        z = np.zeros_like(new)
        for group in np.unique(new_group):
            fitted = known[known_group == group]
            z[new_group == group] = (new[new_group == group] - fitted.mean(axis=0)) / fitted.std(axis=0)
        for distance in (np.abs(z).max(axis=1), (z * z).sum(axis=1)):
            best = max(best, float(roc_auc_score(test.faulty, distance)))
    return best


def stretches(recordings: Tensor) -> Tensor:
    """Return windows of whole recordings, a quarter of a window apart: [n, 1, mels, frames] -> [m, 1, mels, FRAMES]."""
    return recordings.unfold(3, FRAMES, FRAMES // 4).permute(0, 3, 1, 2, 4).flatten(0, 1)


def in_windows(front_end: nn.Module, split: Split) -> list[Tensor]:
    """Return standardised log-mels of each recording's windows: float32[windows, 1, mels, FRAMES] each."""
    return [in_batches(front_end, torch.from_numpy(windows)) for windows in split.windows]


def same_features_auc(known: Tensor, windows: list[Tensor], test: Split, seed: int = 0) -> dict[str, float]:
    """Return the ROC AUC of two baselines on the same features; recordings are scored as for the model.

    pca: principal components of the windows, as many as the autoencoder's latent vector has numbers. dense: a dense
    autoencoder of five frames, as in DCASE's baseline. known: log-mels of whole normal recordings, float32[n, 1, mels, frames].
    """
    components = pca(stretches(known), LATENT)
    network = dense(contexts(known).flatten(0, 1), epochs=20, seed=seed)
    scored = {
        "pca": [ItemScore.of(pca_errors(components, item)).value for item in windows],
        "dense": [
            ItemScore.of(errors(network, contexts(item).flatten(0, 1)).reshape(len(item), -1).mean(axis=1)).value
            for item in windows
        ],
    }
    return {name: float(roc_auc_score(test.faulty, score)) for name, score in scored.items()}


def _loudness_and_brightness(split: Split) -> NDArray[np.float64]:
    """Return float64[n, 2]: log-energy, and the mean over frames of the spectral centroid in Hz."""
    features = []
    frequency = np.fft.rfftfreq(1024, 1 / SAMPLE_RATE)
    for windows in split.windows:
        samples = windows.reshape(-1).astype(np.float64)
        frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::512] * np.hanning(1024)
        magnitude = np.abs(np.fft.rfft(frames))
        centroid = (magnitude @ frequency) / (magnitude.sum(axis=1) + 1e-12)
        features.append((np.log(np.mean(samples**2)), centroid.mean()))
    return np.array(features)


def tell_step(step: int, most: int) -> None:
    """Print now and then how far the training is: on a busy machine it takes many minutes."""
    if step % STEPS_BETWEEN == 0:
        print(f"  step {step:4d} of at most {most}", flush=True)


def train_and_export_detector(
    train: Split, calibration: Split, test: Split, sound: AudioInput, models: Path, *, compare: bool = False, seed: int = 0
) -> dict[str, float]:
    """Train the detector on normal sound, measure it on unknown faults, and export it with a calibration.

    compare: also measure the baselines on the same features. Returns the ROC AUC: overall, by fault, and of the baselines.
    """
    front_end = build_front_end(sound)
    print(f"detector, {len(train.windows)} normal recordings", flush=True)
    known = spectrograms(front_end, train)
    ends = torch.arange(len(known)) % ENDING == 0
    detector, history = train_detector(
        stretches(known[~ends]), stretches(known[ends]), is_sound=True, seed=seed, watch=tell_step
    )

    served = wrap(detector, sound, "reconstruct", torch.from_numpy(test.windows[0]))
    auc = auc_by_fault(scores(_Only(served, "score"), test), test)
    baseline = baseline_auc(train, test)
    others = same_features_auc(known, in_windows(front_end, test), test, seed) if compare else {}
    print(f"ROC AUC over {len(test.windows)} recordings: {auc['overall']:.3f}; loudness and brightness alone: {baseline:.3f}")
    for name, value in others.items():
        print(f"  {name:14s} {value:.3f}   (on the same features)")
    for fault, (low, high) in FAULT_TO_SIGNAL_DB.items():
        print(f"  {fault:14s} {auc[fault]:.3f}   (fault to signal {low:g} to {high:g} dB)")
    request = ExportRequest(
        name="machine-sound",
        task="reconstruct",
        training=history,
        input=sound,
        real_items=np.concatenate(test.windows[:8]),
        normal=map(NormalRecording, calibration.machine.tolist(), calibration.windows),
        evaluation={
            "roc_auc": dict(auc),
            "baseline_roc_auc": baseline,
            **{f"{name}_roc_auc": value for name, value in others.items()},
            "fault_to_signal_db": {fault: list(limits) for fault, limits in FAULT_TO_SIGNAL_DB.items()},
            "test_recordings": len(test.windows),
        },
    )
    describe_export(export_model(detector, request, models))
    return auc | {f"{name}_roc_auc": value for name, value in others.items()} | {"loudness_roc_auc": baseline}


def train_and_export_classifier(train: Split, test: Split, sound: AudioInput, models: Path) -> None:
    """Train and export the classifier of the machine type."""
    front_end = build_front_end(sound)
    kinds = sorted(set(train.kind.tolist()))
    torch.manual_seed(0)
    network = build(CLASSIFIER, len(kinds), (1, BANDS, FRAMES))
    labels = torch.tensor([kinds.index(kind) for kind in train.kind])
    print(f"classifier of {', '.join(kinds)}:")
    history = train_classifier(network, spectrograms(front_end, train), labels, epochs=12, augment=random_crops(FRAMES))

    served = wrap(network, sound, "classify", torch.from_numpy(test.windows[0]))
    probabilities = _Only(served, "probabilities")
    guesses = [kinds[int(in_batches(probabilities, torch.from_numpy(each)).mean(dim=0).argmax())] for each in test.windows]
    accuracy = float(np.mean(np.array(guesses) == test.kind))
    print(f"accuracy over {len(test.windows)} recordings, the faulty ones included: {accuracy:.3f}")
    request = ExportRequest(
        name="machine-type",
        task="classify",
        training=history,
        input=sound,
        labels=kinds,
        real_items=np.concatenate(test.windows[:8]),
        evaluation={"test_accuracy": accuracy, "test_recordings": len(test.windows)},
    )
    describe_export(export_model(network, request, models))


class _Only(nn.Module):
    """Returns one output of a wrapped network."""

    def __init__(self, served: WrappedNetwork, name: str) -> None:
        super().__init__()
        self._served, self._name = served, name

    def forward(self, items: Tensor) -> Tensor:
        return self._served.named(items)[self._name]


def main() -> None:
    """Generate the data if it is missing, train, measure and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("sounds"))
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--seed", type=int, default=0, help="Seed of the generated data.")
    parser.add_argument("--compare", action="store_true", help="Also measure principal components and a dense autoencoder.")
    arguments = parser.parse_args()

    train, calibration, test = make_and_read(arguments.data, arguments.seed)
    sound = fit_constants(SOUND, torch.from_numpy(np.concatenate(train.windows)).split(64))
    train_and_export_classifier(train, test, sound, arguments.models)
    train_and_export_detector(train, calibration, test, sound, arguments.models, compare=arguments.compare)


if __name__ == "__main__":
    main()

"""Your own sounds: train an autoencoder on a folder of normal recordings, and export it with a calibration.

    python examples/own_sounds.py my-sounds/normal --name my-sound --models models

The folder has a folder for each source (a machine, a microphone), with at least 30 normal recordings. Of each source, 3 of 5
recordings are for the training, and the others are for the calibration: no recording is in both.

It ends with:

    300 recordings are in the training, 200 in the calibration: pump-1 40, pump-2 40, ...
    published models/my-sound/1: reconstruct, 1.32 MB, sha256 ...
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from training import in_batches, train_autoencoder

from avizor_export import ExportRequest, build_autoencoder, build_front_end, describe_export, export_model, fit_constants
from avizor_inference import AudioInput, LogMelFrontEnd, NormalRecording, SourceRule, read_recordings

BANDS, FRAME, HOP = 64, 1024, 512  # of the spectrograms: mel bands, and samples
DETECTOR = "conv16s2bn conv32s2bn conv64s2bn latent24"
FEWEST = 30


def sound_input(sample_rate: int, window_s: float) -> AudioInput:
    """Return the input of a model whose windows are about so long, in seconds: the network halves the frames three times."""
    frames = max(8, round((window_s * sample_rate - FRAME) / HOP / 8) * 8)
    samples = FRAME + (frames - 1) * HOP
    front_end = LogMelFrontEnd(n_fft=FRAME, hop_length=HOP, n_mels=BANDS)
    return AudioInput(sample_rate=sample_rate, window_samples=samples, hop_samples=samples, front_end=front_end)


def split(recordings: Sequence[NormalRecording], seed: int) -> tuple[list[NormalRecording], list[NormalRecording]]:
    """Return 3 of 5 recordings of each source for the training, and the others for the calibration, chosen by chance."""
    by_source: dict[str, list[NormalRecording]] = defaultdict(list)
    for index in np.random.default_rng(seed).permutation(len(recordings)):
        by_source[recordings[index].source].append(recordings[index])
    training, calibration = [], []
    for of_source in by_source.values():
        count = len(of_source) * 3 // 5
        training += of_source[:count]
        calibration += of_source[count:]
    return training, calibration


def train_and_export(
    recordings: Sequence[NormalRecording], sound: AudioInput, name: str, models: Path, epochs: int, seed: int
) -> None:
    """Train the autoencoder on windows of normal recordings, and publish it with a calibration on the other recordings."""
    training, calibration = split(recordings, seed)
    windows = torch.from_numpy(np.concatenate([recording.windows for recording in training]))
    sound = fit_constants(sound, windows.split(64))
    spectrograms = in_batches(build_front_end(sound), windows)
    torch.manual_seed(seed)
    network = build_autoencoder(DETECTOR, (1, *spectrograms.shape[2:]))
    history = train_autoencoder(network, spectrograms, epochs=epochs, seed=seed)
    held = Counter(recording.source for recording in calibration)
    sources = ", ".join(f"{source} {count}" for source, count in sorted(held.items()))
    print(f"{len(training)} recordings are in the training, {len(calibration)} in the calibration: {sources}")
    request = ExportRequest(
        name=name,
        task="reconstruct",
        training=history,
        input=sound,
        real_items=windows[:64].numpy(),
        normal=calibration,
    )
    describe_export(export_model(network, request, models))


def main() -> None:
    """Read, train and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="Normal recordings: FOLDER/SOURCE/FILE.")
    parser.add_argument("--name", required=True, help="Of the model.")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--sample-rate", type=int, default=16000, help="Hz. Recordings of another rate are converted to it.")
    parser.add_argument("--window-s", type=float, default=2.0, help="Seconds that the network sees at a time.")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sound = sound_input(arguments.sample_rate, arguments.window_s)
    recordings = list(read_recordings(arguments.folder, sound, SourceRule()))
    if len(recordings) < FEWEST:
        parser.error(f"{arguments.folder} has {len(recordings)} recordings, and {FEWEST} are needed")
    if short := sum(recording.is_short for recording in recordings):
        window_s = sound.window_samples / sound.sample_rate
        print(
            f"{short} of {len(recordings)} recordings are shorter than the model's window of {window_s:.2f} s, and filled up "
            "with zeros; a smaller --window-s lets the model see more of them"
        )
    train_and_export(recordings, sound, arguments.name, arguments.models, arguments.epochs, arguments.seed)


if __name__ == "__main__":
    main()

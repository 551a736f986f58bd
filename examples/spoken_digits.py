"""Spoken digits: train a small CNN on log-mels of a folder of WAV files named `{digit}_{speaker}_{index}.wav`, and export it.

    python examples/spoken_digits.py --data PATH_TO/fsdd --models models

The Free Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset) is such a folder. Its official test split has
the indices 0 to 4 of each digit and speaker.

It prints at its end:

    accuracy on the test split (indices 0-4): 0.9933 of 300 recordings
    published models/spoken-digits/1: classify, 0.25 MB, sha256 09ff6b44cd59
      parity  probabilities: torch 2.14.1 and ONNX Runtime differ by at most 7.7e-07 (random, batch of 3)
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from training import in_batches, train_classifier

from avizor_export import ExportRequest, build, build_front_end, describe_export, export_model, fit_constants
from avizor_inference import AudioInput, LogMelFrontEnd, windows_of

TEST_INDICES = range(5)
NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<index>\d+)\.wav")

LOG_MEL = LogMelFrontEnd(n_fft=256, hop_length=100, n_mels=40, f_min=50, floor=1e-8)
SOUND = AudioInput(sample_rate=8000, window_samples=8000, hop_samples=4000, front_end=LOG_MEL)

# The average over the map at the end makes the result nearly independent of a shift in time.
NETWORK = "conv16bn pool conv32bn pool conv48bn pool conv64bn pool gap drop0.3 fc"


@dataclass(frozen=True)
class Recording:
    """Holds one recording of a spoken digit."""

    digit: int
    speaker: str
    index: int
    windows: NDArray[np.float32]  # float32[windows, window_samples]


def read(folder: Path, sound: AudioInput = SOUND) -> list[Recording]:
    """Read all recordings of a folder, cut into windows in the same way as for the exported model."""
    recordings = []
    for path in sorted(folder.glob("*.wav")):
        if match := NAME.fullmatch(path.name):
            windows = np.stack([window.samples for _, window in windows_of(path, [sound.window_format()])])
            recordings.append(Recording(int(match["digit"]), match["speaker"], int(match["index"]), windows))
    if not recordings:
        raise SystemExit(f"no files named like 3_theo_12.wav in {folder}")
    return recordings


def augment(log_mel: Tensor) -> Tensor:
    """Shift in time, and set a band of frequencies and a range of time to 0 (SpecAugment, Park et al. 2019)."""
    batch, _, bands, frames = log_mel.shape
    out = torch.roll(log_mel, int(torch.randint(-8, 9, ())), dims=3).clone()
    for item in range(batch):
        band, frame = int(torch.randint(bands - 6, ())), int(torch.randint(frames - 10, ()))
        out[item, :, band : band + int(torch.randint(7, ()))] = 0
        out[item, :, :, frame : frame + int(torch.randint(11, ()))] = 0
    return out


def accuracy(network: torch.nn.Module, recordings: list[Recording]) -> float:
    """Return the share of recordings whose mean probability over their windows is largest for the right digit."""
    right = 0
    for recording in recordings:
        probabilities = torch.softmax(in_batches(network, torch.from_numpy(recording.windows)), dim=1).mean(dim=0)
        right += int(probabilities.argmax()) == recording.digit
    return right / len(recordings)


def main() -> None:
    """Train, measure and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()

    recordings = read(arguments.data)
    test = [recording for recording in recordings if recording.index in TEST_INDICES]
    train = [recording for recording in recordings if recording.index not in TEST_INDICES]
    print(f"{len(train)} recordings to train, {len(test)} to test, {len({each.speaker for each in recordings})} speakers")

    waveforms = torch.from_numpy(np.concatenate([recording.windows[:1] for recording in train]))
    sound = fit_constants(SOUND, waveforms.split(256))
    front_end = build_front_end(sound)
    torch.manual_seed(0)
    network = build(NETWORK, 10, (1, LOG_MEL.n_mels, LOG_MEL.frames(SOUND.window_samples)))
    labels = torch.tensor([recording.digit for recording in train])
    history = train_classifier(network, in_batches(front_end, waveforms), labels, epochs=arguments.epochs, augment=augment)

    reached = accuracy(torch.nn.Sequential(front_end, network), test)
    print(f"accuracy on the test split (indices 0-4): {reached:.4f} of {len(test)} recordings")
    request = ExportRequest(
        name="spoken-digits",
        task="classify",
        training=history,
        input=sound,
        labels=list("0123456789"),
        real_items=np.concatenate([recording.windows for recording in test])[:64],
        evaluation={"test_accuracy": reached, "test_recordings": len(test), "split": "indices 0-4"},
    )
    describe_export(export_model(network, request, arguments.models))


if __name__ == "__main__":
    main()

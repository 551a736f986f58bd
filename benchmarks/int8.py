"""Compare int8 with fp32 on one thread: train a ResNet-18 on log-mel patches of 64 x 96, export it in both, and time both.

    python benchmarks/int8.py [--data PATH_TO/fsdd] [--epochs 3] [--rounds 15]

With --data the sounds are spoken digits (see examples/spoken_digits.py), otherwise they are generated. Prints the accuracy on
held-out recordings, and rows/s at batch 1 and 32 from interleaved runs: medians, the median of the ratios, and their spread.
Exit code 1 if the guard of export refuses int8, or if int8 is less than 2.5 times as fast at batch 32 on a CPU with VNNI.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models import resnet18

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import spoken_digits
from training import in_batches, train_classifier

from avizor_export.data.labelled_items import LabelledItems
from avizor_export.exporter import export_model
from avizor_export.front_ends.build import build_front_end, fit_constants
from avizor_export.precision.speed import compare_speed
from avizor_export.request import ExportRequest
from avizor_inference.engines.int8_sums import lacks_vnni
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import AudioInput, LogMelFrontEnd
from avizor_inference.repository.reports import SpeedComparison, VariantReport
from avizor_inference.this_machine import cpuinfo

PROMISED = 2.5
RATE = 8000
SAMPLES = 256 + 95 * 80  # 96 frames
SOUND = AudioInput(
    sample_rate=RATE,
    window_samples=SAMPLES,
    hop_samples=SAMPLES // 2,
    front_end=LogMelFrontEnd(n_fft=256, hop_length=80, n_mels=64, f_min=50, floor=1e-8),
)


class Sounds(NamedTuple):
    """Holds windows float32[n, SAMPLES] with their classes: those for training, and those held out."""

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    origin: str


def spoken(folder: Path) -> Sounds:
    """Return spoken digits, each cut to its first window. Half of the training recordings are used, which is enough."""
    recordings = spoken_digits.read(folder, SOUND)
    test = [recording for recording in recordings if recording.index in spoken_digits.TEST_INDICES]
    train = [recording for recording in recordings if recording.index not in spoken_digits.TEST_INDICES][::2]
    parts = [np.concatenate([recording.windows[:1] for recording in group]) for group in (train, test)]
    labels = [np.array([recording.digit for recording in group]) for group in (train, test)]
    return Sounds(parts[0], labels[0], parts[1], labels[1], "spoken digits, indices 0 to 4 held out")


def generated(count: int = 1300) -> Sounds:
    """Generate ten classes of harmonic tones in noise: five movements of the pitch, each with one of two timbres."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, count)
    time = np.arange(SAMPLES) / RATE
    sounds = np.zeros((count, SAMPLES), np.float32)
    for index, label in enumerate(labels):
        glide, wobble = [(0, 0), (200, 0), (-200, 0), (0, 30), (0, 90)][label % 5]
        pitch = rng.uniform(250, 500) + glide * time + wobble * np.sin(2 * np.pi * 6 * time)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        steepness = 1.0 if label < 5 else 2.5
        tone = sum(np.sin(k * phase) / k**steepness for k in range(1, 8))
        noise = rng.uniform(0.1, 0.5) * rng.standard_normal(SAMPLES)
        sounds[index] = 0.1 * (tone + noise) * rng.uniform(0.3, 1)
    return Sounds(sounds[300:], labels[300:], sounds[:300], labels[:300], "generated tones")


def has_vnni() -> bool:
    """Return whether the CPU can multiply and add four pairs of 8-bit numbers in one instruction; False if not on Linux."""
    return not lacks_vnni(cpuinfo())


def trained(sounds: Sounds, epochs: int) -> tuple[nn.Module, AudioInput]:
    """Train a ResNet-18 with one channel. Return it, and the input description with its standardisation."""
    windows = torch.from_numpy(sounds.train)
    sound = fit_constants(SOUND, torch.split(windows, 256))
    torch.manual_seed(0)
    network = resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    patches = in_batches(build_front_end(sound), windows)
    labels = torch.from_numpy(sounds.train_labels)
    train_classifier(network, patches, labels, epochs=epochs, augment=spoken_digits.augment, peak_rate=1e-3)
    return network, sound


def measure(sounds: Sounds, epochs: int, rounds: int) -> tuple[VariantReport, tuple[SpeedComparison, ...]]:
    """Train, export in fp32 and in int8, and time the two published graphs. Raises ExportError if the guard refuses int8."""
    network, sound = trained(sounds, epochs)
    held_out = LabelledItems(sounds.test, sounds.test_labels)
    request = {"task": "classify", "input": sound, "labels": list("0123456789"), "real_items": sounds.train[::5]}
    with tempfile.TemporaryDirectory() as folder:
        versions = []
        for precision in ("fp32", "int8"):
            variant = ExportRequest(name=precision, precision=precision, held_out=held_out, **request)  # type: ignore[arg-type]
            versions.append(export_model(network, variant, Path(folder)))
        report = versions[1].manifest.variant
        assert report is not None
        before, after = (onnx.load(version.model_path) for version in versions)
        return report, compare_speed(before, after, sounds.test, "probabilities", rounds=rounds, seconds=0.3)


def main() -> None:
    """Measure, and print the table. Exit code 1 if int8 is refused or too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="Folder of the Free Spoken Digit Dataset.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sounds = spoken(arguments.data) if arguments.data else generated()
    try:
        report, speeds = measure(sounds, arguments.epochs, arguments.rounds)
    except ExportError as error:
        sys.exit(str(error))
    cpu = "a CPU with VNNI" if has_vnni() else "no VNNI found on this CPU"
    print(f"\nResNet-18 on 1x64x96, {sounds.origin}; {cpu}, one thread")
    print(f"accuracy on {report.items} held-out recordings: {report.before:.4f} fp32, {report.after:.4f} int8\n")
    print("| batch | fp32 rows/s | int8 rows/s | gain | spread |\n|---:|---:|---:|---:|---:|")
    for speed in speeds:
        print(
            f"| {speed.batch_size} | {speed.before:,.0f} | {speed.after:,.0f} | {speed.ratio:.2f} "
            f"| {speed.lowest_ratio:.2f} to {speed.highest_ratio:.2f} |"
        )
    gain = speeds[-1].ratio
    if has_vnni() and gain < PROMISED:
        sys.exit(f"int8 is {gain:.2f} times as fast at batch {speeds[-1].batch_size}; {PROMISED} times are promised")


if __name__ == "__main__":
    main()

"""Compare whole batch jobs of a ResNet-18-sized classifier by engine and precision, with ONNX Runtime in fp32 as the measure.

    python benchmarks/batch/by_engine.py [--rounds 3] [--clips 3000] [--spoken PATH_TO/fsdd] [--epochs 3] [--json FILE]

The network is trained, exported in fp32 and in int8 (the guard of export lets it lose one item in a hundred), and judges
clips of one window, 64 x 96 after its log-mel. Rates are those of N clips less N/10, with a worker for each core: medians over
interleaved rounds, and of the ratios to ONNX Runtime in fp32 in the same round; in brackets their range. Accuracy is that of
the labels in the job's table, for held-out clips. bf16 is left out on processors without it. Exit code 1: bf16 is less than
2.8 times, or int8 less than 6 times as fast, which takes AMX (docs/engines.md); or one loses more than an item in a hundred.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
import engines
import int8
from batch.measured import CORES, JOB, run, spread

from avizor_inference.engines.open_engine import engines_here

# Way -> model, engine.
FIRST = "ONNX Runtime, fp32"
WAYS = {
    FIRST: ("resnet18", "ort"),
    "ONNX Runtime, int8": ("resnet18-int8", "ort"),
    "OpenVINO, fp32": ("resnet18", "openvino"),
    "OpenVINO, bf16": ("resnet18", "openvino:bf16"),
    "OpenVINO, int8": ("resnet18-int8", "openvino"),
}
GOALS = {"OpenVINO, bf16": 2.8, "OpenVINO, int8": 6.0}
MOST_LOST = 0.01


def main() -> None:
    """Train, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=3000)
    parser.add_argument("--spoken", type=Path, help="Folder of the Free Spoken Digit Dataset. Default: generated sounds.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rates: dict[str, list[float]] = defaultdict(list)
    ways = [way for way, (_, engine) in WAYS.items() if engine in engines_here()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sounds = int8.spoken(options.spoken) if options.spoken else int8.generated()
        list(engines.resnet18(sounds, options.epochs, folder / "models"))
        write_clips(sounds, folder / "few", options.clips // 10)
        write_clips(sounds, folder / "many", options.clips)
        accuracy = {way: _accuracy(way, folder, sounds) for way in ways}
        for _ in range(options.rounds):
            for way in ways:
                few, many = (_job_s(way, folder, clips, folder / "out") for clips in ("few", "many"))
                rates[way].append((options.clips - options.clips // 10) / (many - few))
                shutil.rmtree(folder / "out")
                print(".", end="", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps({"clips/s": rates, "accuracy": accuracy}))
    sys.exit(1 if _print_table(rates, accuracy) else 0)


def write_clips(sounds: int8.Sounds, folder: Path, count: int) -> None:
    """Write the held-out sounds as `NUMBER.wav`, again and again under other names, until there are `count`."""
    folder.mkdir()
    for number in range(count):
        first = folder / f"{number % len(sounds.test):06d}.wav"
        if first.exists():
            os.link(first, folder / f"{number:06d}.wav")
        else:
            soundfile.write(first, sounds.test[number], int8.RATE, subtype="PCM_16")


def _accuracy(way: str, folder: Path, sounds: int8.Sounds) -> float:
    """Return the share of held-out sounds to which a job gives their label."""
    clips, out = folder / "each", folder / "out"
    write_clips(sounds, clips, len(sounds.test))
    _job_s(way, folder, "each", out)
    rows = pq.read_table(out / "recordings", columns=["uri", "label"]).to_pylist()
    shutil.rmtree(clips)
    shutil.rmtree(out)
    assert len(rows) == len(sounds.test), "a job has a row for each clip"
    right = [int(row["label"]) == int(sounds.test_labels[int(Path(row["uri"]).stem)]) for row in rows]
    return sum(right) / len(right)


def _job_s(way: str, folder: Path, clips: str, out: Path) -> float:
    """Return the seconds of a job, which writes to `out`."""
    model, engine = WAYS[way]
    shutil.rmtree(out, ignore_errors=True)
    command: list[str | Path] = [*JOB, folder / clips, "--models", folder / "models", "--model", model, "--out", out]
    return run([*command, "--workers", str(CORES), "--engine", engine]).seconds


def _print_table(rates: dict[str, list[float]], accuracy: dict[str, float]) -> bool:
    """Print what was measured; return whether a goal is missed."""
    print(f"\nResNet-18 on 64 x 96, {CORES} cores, whole jobs\n\n| engine | clips/s | of {FIRST} | goal | accuracy |")
    print("|---|---:|---:|---:|---:|")
    missed = False
    for way, values in rates.items():
        ratios = [one / other for one, other in zip(values, rates[FIRST], strict=True)]
        lost = accuracy[FIRST] - accuracy[way] > MOST_LOST
        missed |= lost or median(ratios) < GOALS.get(way, 0)
        goal = f"{GOALS[way]}" if way in GOALS else ""
        print(f"| {way} | {spread(values)} | {spread(ratios, '.2f')} | {goal} | {accuracy[way]:.4f} |")
    return missed


if __name__ == "__main__":
    main()

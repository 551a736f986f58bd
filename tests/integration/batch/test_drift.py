"""A job says of a source that its scores have moved, though nothing of it is flagged, and goes on saying so after a stop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from integration.jobs import AVIZOR, command
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.warm_starts import warm_run

from avizor_inference.anomaly.drift import ALERT_OF_A_JOB
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine


def most_usual(models: Path) -> int:
    """The seed of the sound with the smallest score of many normal ones."""
    seeds = range(1000, 1060)
    sounds = np.stack([tone(4096 / SAMPLE_RATE, seed=seed) for seed in seeds]).astype(np.float32)
    with EmbeddedEngine(models) as engine:
        scores = [
            engine.infer(InferRequest("normal", {"waveform": sound[None]}, ("score",)))["score"][0, 0] for sound in sounds
        ]
    return seeds[int(np.argmin(scores))]


def test_a_source_that_is_stuck_is_named_although_nothing_of_it_is_flagged(models: Path, tmp_path: Path) -> None:
    data, out, seed = tmp_path / "data", tmp_path / "out", most_usual(models)
    for number in range(150):
        write_wav(data / "a" / f"{number:03d}.wav", tone(4096 / SAMPLE_RATE, seed=seed))
        write_wav(data / "b" / f"{number:03d}.wav", tone(4096 / SAMPLE_RATE, seed=2000 + number))
    words = command(data, models, out, "--alpha", "0.05")
    done = warm_run(list(map(str, words)), timeout=120)
    assert done.returncode == 0, done.stderr
    (note,) = (line for line in done.stdout.splitlines() if "in the calibration" in line)
    assert note.startswith("  Note: a: scores are smaller than in the calibration")
    summary = json.loads((out / "summary.json").read_text())
    (model,) = (each for each in summary["models"] if each["name"] == "normal")
    assert model["sources"]["a"]["anomalies"] == 0
    assert model["sources"]["a"]["drift"] > ALERT_OF_A_JOB > model["sources"]["b"]["drift"]
    shutil.rmtree(out / "recordings")  # what a stop before the end leaves is made again from the records of the shards
    assert warm_run(list(map(str, words)), timeout=120).returncode == 0
    again = json.loads((out / "summary.json").read_text())
    assert [each["sources"] for each in again["models"]] == [each["sources"] for each in summary["models"]]
    assert warm_run([str(AVIZOR), "verify", str(out)], timeout=60).returncode == 0

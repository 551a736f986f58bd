"""Measure, in a process with nothing else in it, what the job is compared with. Prints JSON.

    python alone.py floor|loop|librosa|hand MODELS NAMES CLIPS [SECONDS]

floor: microseconds of one clip for decoding it, and for each model at its best batch, each on one thread.
loop: clips per second of decoding and running one clip after the other. librosa: the same with librosa's decoder and log-mel,
and the networks without their front end, as a plain script does it. hand: the loop in batches, in this one warm process.
These say clips per second of wall time and of CPU time, and the peak memory of this process in MiB.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import psutil
import soundfile
from numpy.typing import NDArray

BATCHES = (8, 16, 32, 64)
HAND_BATCH = 32
REPEATS = 7


def main() -> None:
    """Measure what the command line names."""
    what, models, names, clips, *seconds = sys.argv[1:]
    paths = [str(path) for path in sorted(Path(clips).iterdir())[:1000]]
    plain = "-plain" if what == "librosa" else ""
    files = [Path(models) / (name + plain) / "1" / "model.onnx" for name in names.split(",")]
    if what == "floor":
        print(json.dumps(_floor(files, paths)))
    else:
        batch, threads = (HAND_BATCH, 1) if what == "hand" else (1, 0)
        read = _log_mel_by_librosa if what == "librosa" else _decode
        print(json.dumps(_rates(files, paths, batch, threads, float(seconds[0]), read)))


def _decode(path: str) -> NDArray[np.float32]:
    samples, _ = soundfile.read(path, dtype="float32")
    return samples  # type: ignore[no-any-return]


def _log_mel_by_librosa(path: str) -> NDArray[np.float32]:
    import librosa  # not where it is not used: memory is measured

    samples, _ = librosa.load(path, sr=8000)
    power = librosa.feature.melspectrogram(y=samples, sr=8000, n_fft=512, hop_length=78, n_mels=64, center=False)
    log_mel: NDArray[np.float32] = np.log(np.maximum(power, 1e-10))[None]
    return log_mel


def _sessions(files: list[Path], threads: int) -> list[Callable[[NDArray[np.float32]], Any]]:
    """Return what runs each model for the output that the job needs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads

    def runner(file: Path) -> Callable[[NDArray[np.float32]], Any]:
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        (name,) = (each.name for each in session.get_outputs() if each.name in ("probabilities", "score"))
        return lambda rows: session.run([name], {session.get_inputs()[0].name: rows})

    return [runner(file) for file in files]


def _floor(files: list[Path], paths: list[str]) -> dict[str, float]:
    def cpu_of(work: Callable[[], object]) -> float:
        work()
        taken = []
        for _ in range(REPEATS):
            started = time.process_time()
            work()
            taken.append(time.process_time() - started)
        return statistics.median(taken)

    costs = {"decode": 1e6 * cpu_of(lambda: [_decode(path) for path in paths]) / len(paths)}
    samples = np.stack([_decode(path) for path in paths[: max(BATCHES)]])
    for file, run in zip(files, _sessions(files, 1), strict=True):
        costs[file.parent.parent.name] = min(
            1e6 * cpu_of(lambda run=run, size=size: run(samples[:size])) / size  # type: ignore[misc]
            for size in BATCHES
        )
    return costs


def _rates(
    files: list[Path], paths: list[str], batch: int, threads: int, seconds: float, read: Callable[[str], NDArray[np.float32]]
) -> dict[str, float]:
    sessions = _sessions(files, threads)
    endless = itertools.cycle(paths)

    def batches() -> Iterator[NDArray[np.float32]]:
        while True:
            yield np.stack([read(path) for path in itertools.islice(endless, batch)])

    source = batches()
    for run in sessions:
        run(next(source))
    started, cpu, clips, kept = time.monotonic(), time.process_time(), 0, []
    while time.monotonic() < started + seconds:
        rows = next(source)
        kept.append([run(rows) for run in sessions])
        clips += batch
    return {
        "wall": clips / (time.monotonic() - started),
        "cpu": clips / (time.process_time() - cpu),
        "mib": psutil.Process().memory_full_info().pss / 2**20,
    }


if __name__ == "__main__":
    main()

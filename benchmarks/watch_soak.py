"""Keep two live jobs busy for an hour, over a folder and over standard input: does their memory grow?

    python benchmarks/watch_soak.py [--minutes 60] [--files-a-minute 120] [--samples FILE]

One `avizor watch` looks at a folder into which recordings keep arriving: half of them are written in two pieces, half are
renamed into place, and a few are cut off. Another one hears sound at 16 kHz in real time. Every 2 s the resident memory of each
job, with its workers, is taken. The first quarter is the warm-up; through the rest a line is fitted (memory_slope.py).
Exit code 1: the upper bound of the 95 % interval of a slope is 2 MiB an hour or more, a job ended, or at the end the tables are
not complete by `avizor verify`, or do not hold each file.

Two MiB an hour, not less: some bytes of each file stay in memory, so that it is known again, and what workers have freed comes
and goes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from memory_slope import slope
from support.media import memory_mib
from support.small_models import export_small_models
from support.sounds import SAMPLE_RATE, tone, write_wav

EVERY_S = 2.0
WARM_UP = 0.25  # of the whole time
MOST_MIB_AN_HOUR = 2.0
STREAM_RATE = 16000
STREAM_BLOCK_S = 0.25
# Of glibc: see soak.py.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "2"}
AVIZOR = Path(sys.executable).with_name("avizor")
VARIANTS = 16  # of the sounds, which are made once


class Source(threading.Thread):
    """Does something again and again until it is told to stop. pause_s: between two times."""

    def __init__(self, step: Callable[[int], None], pause_s: float) -> None:
        super().__init__(daemon=True)
        self._step, self._pause_s, self._over = step, pause_s, threading.Event()
        self.count = 0

    def run(self) -> None:
        """See threading.Thread."""
        started = time.monotonic()
        while not self._over.wait(max(0.0, started + self.count * self._pause_s - time.monotonic())):
            self._step(self.count)
            self.count += 1

    def stop(self) -> None:
        """Wait until the last step is done."""
        self._over.set()
        self.join()


class Arrivals:
    """Puts files into a folder, in one of three ways."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._rng = folder, random.Random(0)
        folder.mkdir()
        whole = folder.with_name("whole.wav")
        self._sounds = []
        for seed in range(VARIANTS):
            write_wav(whole, tone(3 * 4096 / SAMPLE_RATE, seed=seed))
            self._sounds.append(whole.read_bytes())
        self.broken = 0

    def add(self, number: int) -> None:
        """Add a file."""
        path = self._folder / f"pump{number % 4}" / f"{number // 600:04d}" / f"{number:06d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = self._rng.choice(self._sounds)
        if self._rng.random() < 0.01:
            data = data[: len(data) // 2]
            self.broken += 1
        if self._rng.random() < 0.5:
            part = path.with_suffix(".part")
            part.write_bytes(data)
            part.rename(path)
        else:
            with path.open("wb") as file:
                file.write(data[:1000])
                file.flush()
                time.sleep(self._rng.uniform(0, 0.2))
                file.write(data[1000:])


def stream_steps(pipe: int) -> Callable[[int], None]:
    """Return what writes the next block of sound."""
    sound = np.concatenate([tone(2.0, seed=seed) for seed in range(VARIANTS)]).repeat(STREAM_RATE // SAMPLE_RATE)
    data, size = (sound * 30000).astype("<i2").tobytes(), int(2 * STREAM_RATE * STREAM_BLOCK_S)

    def step(number: int) -> None:
        start = number * size % len(data)
        block = data[start : start + size]
        with contextlib.suppress(BrokenPipeError):
            os.write(pipe, block)

    return step


def started(what: Path | str, out: Path, models: Path, *more: str, stdin: int | None = None) -> subprocess.Popen[bytes]:
    """Start a live job, whose log is beside its tables."""
    with out.with_name(f"{out.name}.log").open("wb") as log:
        words = (
            AVIZOR,
            "watch",
            what,
            "--models",
            models,
            "--model",
            "kinds",
            "--model",
            "normal",
            "--out",
            out,
            "--alpha",
            "0.05",
        )
        return subprocess.Popen([*map(str, words), *more], stdin=stdin, stdout=log, stderr=log, env={**os.environ, **ALLOCATOR})


def main() -> None:
    """Start, load, measure, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--files-a-minute", type=float, default=120.0)
    parser.add_argument("--samples", type=Path, help="where the samples are written as CSV")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, models = Path(folder), Path(folder, "models")
        export_small_models(models)
        arrivals = Arrivals(root / "incoming")
        reading, writing = os.pipe()
        jobs = {
            "folder": started(root / "incoming", root / "out", models, "--workers", "1", "--silent-after-s", "60"),
            "stream": started("-", root / "heard", models, "--rate", str(STREAM_RATE), "--recording-s", "600", stdin=reading),
        }
        os.close(reading)
        sources = [Source(arrivals.add, 60 / arguments.files_a_minute), Source(stream_steps(writing), STREAM_BLOCK_S)]
        try:
            for source in sources:
                source.start()
            samples = measure(jobs, sources[0], arguments.minutes * 60)
            for source in sources:
                source.stop()
            time.sleep(15)  # the last files settle and are judged
            os.close(writing)
            jobs["folder"].send_signal(signal.SIGTERM)
            codes = {name: job.wait(120) for name, job in jobs.items()}
        finally:
            for job in jobs.values():
                job.kill()
        problems = check(root, codes, sources[0].count, arrivals.broken, sources[1].count)
    if arguments.samples:
        lines = [f"{at:.1f},{','.join(f'{mib:.3f}' for mib in each)}\n" for at, *each in samples]
        arguments.samples.write_text(f"s,{','.join(jobs)}\n{''.join(lines)}")
    problems += judge(np.array(samples), list(jobs), arguments.minutes)
    if problems:
        raise SystemExit("\n".join(problems))


def measure(jobs: dict[str, subprocess.Popen[bytes]], files: Source, seconds: float) -> list[tuple[float, ...]]:
    """Return the seconds since the start, and the resident MiB of each job, every EVERY_S; stop early if a job ended."""
    began, samples = time.monotonic(), list[tuple[float, ...]]()
    while (now := time.monotonic() - began) < seconds and all(job.poll() is None for job in jobs.values()):
        samples.append((now, *(memory_mib(job.pid) for job in jobs.values())))
        if len(samples) % 150 == 1:
            sizes = ", ".join(f"{name} {mib:.1f} MiB" for name, mib in zip(jobs, samples[-1][1:], strict=True))
            print(f"{now / 60:5.1f} min: {sizes}, {files.count} files", flush=True)
        time.sleep(max(0.0, len(samples) * EVERY_S - (time.monotonic() - began)))
    return samples


def check(root: Path, codes: dict[str, int], files: int, broken: int, blocks: int) -> list[str]:
    """Return what is wrong with the ends of the jobs and with their tables."""
    problems = []
    wanted = {"folder": 3 if broken else 0, "stream": 0}
    for name, out in (("folder", root / "out"), ("stream", root / "heard")):
        log = out.with_name(f"{out.name}.log").read_text()
        if codes[name] != wanted[name] or "Traceback" in log:
            problems.append(f"{name} ended with {codes[name]}; the end of its log:\n{log[-3000:]}")
        verified = subprocess.run([AVIZOR, "verify", out], capture_output=True, text=True, check=False)
        parts = len(list((out / "windows").glob("*.parquet")))
        print(f"{name}: {verified.stdout.splitlines()[0]}, {parts} of windows", flush=True)
        if verified.returncode:
            problems.append(f"{name}: {verified.stdout}{verified.stderr}")
        if name == "folder" and f"{files} files, " not in verified.stdout:
            problems.append(f"{files} files came, {broken} of them broken: {verified.stdout}")
    print(f"{files} files came, {broken} of them broken, and {blocks * STREAM_BLOCK_S:.0f} s of sound")
    return problems


def judge(samples: np.ndarray, names: list[str], minutes: float) -> list[str]:
    """Print the slopes after the warm-up, and return which may be too large."""
    problems, late = [], samples[samples[:, 0] >= WARM_UP * minutes * 60]
    for place, name in enumerate(names, start=1):
        mib = late[:, place]
        found = slope(late[:, 0] / 3600, mib)
        print(
            f"{name}: {len(mib)} samples after {WARM_UP * minutes:.1f} min of warm-up: {mib[0]:.1f} MiB at first, "
            f"{mib[-1]:.1f} at the end, {mib.max():.1f} at most; slope {found.value:+.2f} MiB an hour, 95 % interval "
            f"{found.low:+.2f} to {found.high:+.2f}; dependence of blocks {found.dependence:+.2f}"
        )
        if found.high >= MOST_MIB_AN_HOUR:
            problems.append(
                f"{name}: the upper bound is not under {MOST_MIB_AN_HOUR:g} MiB an hour: memory grows, or the run was short"
            )
    return problems


if __name__ == "__main__":
    main()

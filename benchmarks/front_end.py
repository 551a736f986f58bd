"""Compare the speed of the log-mel front end in its ONNX graph with scipy.fft, on one thread each.

    python benchmarks/front_end.py [--rounds 25]

64 mels; ten windows of a second, and one of ten seconds; at 16 kHz, and at 44.1 kHz with a hop of 10 ms, which has no common
factor with n_fft. Prints the graph's time divided by that of scipy: the median of interleaved runs and their quartiles. The
last column is for the compensated graph. Exit code 1 if a promised ratio is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median, quantiles

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from avizor_export.front_ends.log_mel import LogMel
from avizor_export.front_ends.mel_filters import analysis_window, mel_filters
from avizor_export.graph.to_onnx import to_program
from avizor_export.precision.speed import one_thread
from avizor_inference.items.inputs import LogMelFrontEnd

# Windows and their seconds.
SHAPES = [(10, 1), (1, 10)]
# n_fft, hop and sample rate.
SETTINGS = [(512, 160, 16_000), (1024, 160, 16_000), (1024, 512, 16_000), (1024, 441, 44_100), (2048, 441, 44_100)]
# The largest ratio that is promised, for the graph that is not compensated.
PROMISED = {(512, 160, 16_000): 1.5, (1024, 512, 16_000): 2.0}
# Frames that scipy transforms at once, so that they stay in the second-level cache. Fewer and more were slower.
CHUNK = 128

Waves = NDArray[np.float32]
Run = Callable[[Waves], Waves]


def with_scipy(parameters: LogMelFrontEnd, rate: int) -> Run:
    """Return a function that computes the same log-mels with scipy.fft in float32, as fast as possible.

    It works in chunks and in place, and computes the mel bands with BLAS.
    """
    window = analysis_window(parameters).astype(np.float32)
    filters = np.ascontiguousarray(mel_filters(parameters, rate).T, dtype=np.float32)
    windowed = np.empty((CHUNK, parameters.n_fft), np.float32)
    power = np.empty((CHUNK, parameters.n_fft // 2 + 1), np.float32)

    def chunk(frames: Waves, out: Waves) -> None:
        np.multiply(frames, window, out=windowed[: len(frames)])
        parts = scipy.fft.rfft(windowed[: len(frames)], workers=1).view(np.float32)
        np.multiply(parts, parts, out=parts)
        np.add(parts[:, ::2], parts[:, 1::2], out=power[: len(frames)])
        np.matmul(power[: len(frames)], filters, out=out)
        np.maximum(out, np.float32(parameters.floor), out=out)
        np.log(out, out=out)

    def run(waves: Waves) -> Waves:
        frames = np.lib.stride_tricks.sliding_window_view(waves, parameters.n_fft, axis=1)[:, :: parameters.hop_length]
        out = np.empty((*frames.shape[:2], parameters.n_mels), np.float32)
        for clip in range(len(waves)):
            for first in range(0, frames.shape[1], CHUNK):
                chunk(frames[clip, first : first + CHUNK], out[clip, first : first + CHUNK])
        return out

    return run


def with_onnx(parameters: LogMelFrontEnd, rate: int, samples: int) -> Run:
    """Return a function that runs the exported graph on ONNX Runtime."""
    program = to_program(LogMel(parameters, rate), torch.zeros(2, samples), ["waveform"], ["log_mel"])
    session = one_thread(program.model_proto)
    return lambda waves: session.run(None, {"waveform": waves})[0]


def timed(run: Run, waves: Waves, repeats: int = 3) -> float:
    """Return the seconds for one call: the mean of `repeats` calls."""
    started = time.perf_counter()
    for _ in range(repeats):
        run(waves)
    return (time.perf_counter() - started) / repeats


def measure(shape: tuple[int, int], setting: tuple[int, int, int], rounds: int) -> bool:
    """Print one row. Return whether the promise was kept."""
    (clips, seconds), (n_fft, hop_length, rate) = shape, setting
    waves = (0.1 * np.random.default_rng(0).standard_normal((clips, seconds * rate))).astype(np.float32)
    parameters = LogMelFrontEnd(n_fft=n_fft, hop_length=hop_length, n_mels=64)
    scipy_run, graph = with_scipy(parameters, rate), with_onnx(parameters, rate, waves.shape[1])
    compensated = with_onnx(parameters.model_copy(update={"compensated": True}), rate, waves.shape[1])
    for run in (graph, compensated):
        np.testing.assert_allclose(run(waves)[:, 0], scipy_run(waves).transpose(0, 2, 1), atol=2e-3)
    times = [[timed(run, waves) for run in (scipy_run, graph, compensated)] for _ in range(rounds)]
    ratios = [graph_s / scipy_s for scipy_s, graph_s, _ in times]
    low, _, high = quantiles(ratios, n=4)
    limit = PROMISED.get(setting)
    print(
        f"| {n_fft} / {hop_length} | {rate / 1000:g} kHz | {clips} x {seconds} s "
        f"| {clips * seconds / median(row[0] for row in times):,.0f} "
        f"| {median(ratios):.2f} | {low:.2f} to {high:.2f} | {f'at most {limit}' if limit else ''} "
        f"| {median(compensated_s / scipy_s for scipy_s, _, compensated_s in times):.2f} |",
        flush=True,
    )
    return limit is None or median(ratios) <= limit


def main() -> None:
    """Measure all settings, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| n_fft / hop | rate | windows | scipy.fft, x real time | graph / scipy.fft | quartiles | promised | compensated |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    with threadpool_limits(limits=1):
        kept = [measure(shape, setting, arguments.rounds) for setting in SETTINGS for shape in SHAPES]
    if not all(kept):
        sys.exit("a promised ratio was missed")


if __name__ == "__main__":
    main()

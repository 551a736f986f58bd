"""Generate vibration in two axes, in a unit of its own, and describe it as a model's input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
import soundfile
from numpy.typing import NDArray

from avizor_inference.items.input_spec import SignalInput

# Named arrays and columns, an odd window, no rate.
SIGNAL = SignalInput(channels=2, window_samples=250, hop_samples=250, columns=("ax", "ay"))
SUFFIXES = (".npy", ".npz", ".mat", ".csv", ".wav")


def vibration(steps: int, seed: int = 0, *, impulses: bool = False) -> NDArray[np.float32]:
    """Return a rotation in noise, far beyond -1..1: float32[steps, 2]. impulses: of a damaged bearing."""
    rng, time = np.random.default_rng(seed), np.arange(steps)
    angle = 2 * np.pi * time / 25 + rng.uniform(0, 2 * np.pi)
    axes = np.stack([12 * np.sin(angle), 100 + 5 * np.cos(angle)], axis=1) + rng.standard_normal((steps, 2))
    if impulses:
        axes[rng.integers(0, steps, steps // 50)] += 40
    return axes.astype(np.float32)


def write_signal(path: Path, signal: NDArray[np.float32], rate: int = 1000) -> Path:
    """Write float32[steps, 2] in the format of the path's suffix, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ax, ay = signal.T
    if path.suffix == ".npy":
        np.save(path, signal)
    elif path.suffix == ".npz":
        np.savez_compressed(path, time=np.arange(len(signal)), ax=ax, ay=ay)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"rpm": 1500.0, "ax": ax, "ay": ay}, do_compression=True)
    elif path.suffix == ".csv":
        np.savetxt(path, signal[:, ::-1], delimiter=",", header="ay,ax", comments="", fmt="%.9g")
    else:
        soundfile.write(path, signal, rate, subtype="FLOAT")
    return path

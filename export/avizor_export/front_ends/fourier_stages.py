"""Split a real Fourier transform into two stages of products: sizes, float64 constants, and the order of what comes out.

A transform of N points as one product costs N^2. So N is split into a * b; with n = b n1 + n2 and k = k1 + a k2,

    X[k] = sum_n2 e^(-2 pi i n2 k2 / b) sum_n1 e^(-2 pi i (b n1 + n2) k1 / N) x[b n1 + n2].

The inner sum, window and twiddles included, is a convolution with one group for each n2 (the waveform seen as b channels). It
cuts frames at the same time, as long as frames start at whole steps of b. Where hop and n_fft share too little for that, frames
are cut before. The input being real, k1 = 0..a/2 is enough. The outer sum has the same matrix for every k1, so
that nothing has to be moved between the stages: n2 leads, k1 and frames follow.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Floats

# Most slices that frames are cut into, each a node of the graph.
MOST_BLOCKS = 32


class Split(NamedTuple):
    """Holds the factors of n_fft = a * b. cut_first: frames are cut before the transform, and b need not divide the hop."""

    a: int
    b: int
    cut_first: bool = False


def best_split(n_fft: int, hop_length: int, *, cut_first: bool = False) -> Split:
    """Return the split with the fewest multiplications: b = 1, one product for everything, if n_fft has no fitting divisor.

    cut_first: whether frames have to be cut before the transform.
    """
    shared = math.gcd(n_fft, hop_length)
    divisors = [b for b in range(1, n_fft + 1) if n_fft % b == 0]
    splits = [] if cut_first else [Split(n_fft // b, b) for b in divisors if shared % b == 0]
    if cut_first or -(-n_fft // hop_length) <= MOST_BLOCKS:
        splits += [Split(n_fft // b, b, cut_first=True) for b in divisors if b > 1]
    return min(splits, key=_multiplications)


def _multiplications(split: Split) -> int:
    a, b, cut_first = split
    values = 2 * b * inner_bins(a)
    # A value between the stages is written and read: worth several multiplications. One that is copied is moved twice.
    return values * a + (0 if b == 1 else values * (2 * b + 8)) + (16 * a * b if cut_first else 0)


def inner_bins(a: int) -> int:
    """Return how many k1 are computed. The others mirror them."""
    return a // 2 + 1


def inner_kernels(window: Floats, a: int, b: int) -> Floats:
    """Return kernels of the grouped convolution: float64[b * 2 * inner_bins(a), 1, a], by n2, part (real, imaginary) and k1."""
    samples = np.arange(a * b).reshape(a, b).T[:, None, :]  # [n2, 1, n1]
    k1 = np.arange(inner_bins(a))[:, None]
    real, imaginary = _turns(samples * k1, a * b)
    weights = window.reshape(a, b).T[:, None, None, :]
    return np.asarray(np.stack([real, imaginary], axis=1) * weights).reshape(-1, 1, a)


def outer_matrix(b: int) -> Floats:
    """Return the transform of b complex points: float64[2 * b, 2 * b]; rows by part and k2, columns by n2 and part."""
    real, imaginary = _turns(np.outer(np.arange(b), np.arange(b)), b)
    rows = [np.stack([real, -imaginary], axis=2), np.stack([imaginary, real], axis=2)]
    return np.stack(rows).reshape(2 * b, 2 * b)


def bins(a: int, b: int) -> NDArray[np.int64]:
    """Return the frequency bin 0..n_fft / 2 of each value that comes out, by k2 and k1; -1 for one that was there before."""
    k = np.add.outer(a * np.arange(b), np.arange(inner_bins(a))).ravel()
    found = np.minimum(k, a * b - k)
    again = np.ones(len(found), dtype=bool)
    again[np.unique(found, return_index=True)[1]] = False
    return np.where(again, -1, found)


def _turns(phase: NDArray[np.int64], turn: int) -> tuple[Floats, Floats]:
    """Return the real and imaginary part of e^(-2 pi i phase / turn)."""
    # Reduced as a whole number, so that it is exact for large products.
    angle = 2 * np.pi * (phase % turn) / turn
    return np.cos(angle), -np.sin(angle)

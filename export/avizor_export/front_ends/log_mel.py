"""Compute the log-mel spectrogram in a torch module of plain convolutions and matrix products, for any ONNX runtime.

The STFT operator of ONNX has no CUDA kernel and is slow on CPUs; fourier_stages.py says what stands in its place. Bins stay in
the order they come in: the columns of the mel filters are put in that order instead.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avizor_export.front_ends.compensated import CompensatedProduct, Product, constant
from avizor_export.front_ends.fourier_stages import best_split, bins, inner_bins, inner_kernels, outer_matrix
from avizor_export.front_ends.mel_filters import analysis_window, mel_filters
from avizor_inference.items.input_spec import LogMelFrontEnd


class LogMel(nn.Module):
    """Computes float32[batch, samples] -> float32[batch, 1, n_mels, frames], the standardised log-mel of LogMelFrontEnd.

    frames = LogMelFrontEnd.frames(samples). Raises ValueError if the mel bands do not suit sample rate and n_fft.
    """

    filters: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, parameters: LogMelFrontEnd, sample_rate: int) -> None:
        super().__init__()
        self._options = parameters
        self.split = best_split(parameters.n_fft, parameters.hop_length)
        a, b, _ = self.split
        inner, outer = inner_kernels(analysis_window(parameters), a, b), outer_matrix(b)
        if parameters.compensated:
            # Samples lie in [-1, 1] and so does the window; each inner sum has a terms, the outer one n_fft of them.
            self.inner: nn.Module = CompensatedProduct(self._convolve, inner, largest_sum=a)
            self.outer: nn.Module = CompensatedProduct(_multiply, outer, largest_sum=a * b)
        else:
            self.inner, self.outer = Product(self._convolve, inner), Product(_multiply, outer)
        constant(self, "filters", filters_in_order(mel_filters(parameters, sample_rate), a, b))
        constant(self, "mean", np.array(parameters.mean).reshape(-1, 1))
        constant(self, "std", np.array(parameters.std).reshape(-1, 1))

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute power spectrum, mel bands, logarithm and standardisation."""
        power = self._power(waveform)
        if self._options.power == 1:
            power = torch.sqrt(power)
        mel = torch.clamp(torch.matmul(self.filters, power)[:, None], min=self._options.floor)
        return (self._log(mel) - self.mean) / self.std

    def _power(self, waveform: Tensor) -> Tensor:
        """Return the power: float32[batch, b * inner_bins(a), frames], by k2 and k1."""
        a, b, _ = self.split
        frames = self._options.frames(waveform.shape[1])
        spectrum = self._spectrum(self._channels(waveform)).reshape(-1, 2, b * inner_bins(a), frames)
        real, imaginary = spectrum[:, 0], spectrum[:, 1]
        return real * real + imaginary * imaginary

    def _channels(self, waveform: Tensor) -> Tensor:
        """Return float32[batch, b, steps]: channel n2 holds samples b n1 + n2, of the waveform or of frame after frame."""
        b = self.split.b
        if self._options.center:
            half = self._options.n_fft // 2
            waveform = nn.functional.pad(waveform[:, None], (half, half), self._options.pad_mode)[:, 0]
        if self.split.cut_first:
            waveform = self._frames_in_a_row(waveform)
        steps = waveform.shape[1] // b
        return waveform[:, : steps * b].reshape(-1, steps, b).transpose(1, 2)

    def _frames_in_a_row(self, waveform: Tensor) -> Tensor:
        """Return float32[batch, frames * n_fft]. Frame i is made of blocks i, i + 1, ... of a hop each, the last cut short."""
        n_fft, hop = self._options.n_fft, self._options.hop_length
        frames, blocks = 1 + (waveform.shape[1] - n_fft) // hop, -(-n_fft // hop)
        whole = (frames + blocks - 1) * hop
        waveform = nn.functional.pad(waveform, (0, max(0, whole - waveform.shape[1])))[:, :whole]
        rows = waveform.reshape(-1, frames + blocks - 1, hop)
        cut = [rows[:, block : block + frames, : n_fft - block * hop] for block in range(blocks)]
        return torch.cat(cut, dim=2).reshape(-1, frames * n_fft)

    def _spectrum(self, channels: Tensor) -> Tensor:
        """Return float32[batch, 2 * b, inner_bins(a) * frames]: rows by part and k2."""
        if not self._options.compensated:
            inner = self._by_n2(self.inner(channels))
            return inner if self.split.b == 1 else self.outer(inner)
        inner, rest = map(self._by_n2, self.inner(channels))
        if self.split.b > 1:
            inner, rest = self.outer(inner, rest)
        return inner + rest

    def _by_n2(self, inner: Tensor) -> Tensor:
        """Reshape float32[batch, n2 part k1, frames] -> float32[batch, n2 part, k1 frames]."""
        a, b, _ = self.split
        return inner.reshape(-1, 2 * b, inner_bins(a) * inner.shape[2])

    def _convolve(self, channels: Tensor, kernels: Tensor) -> Tensor:
        a, b, cut_first = self.split
        stride = a if cut_first else self._options.hop_length // b
        return nn.functional.conv1d(channels, kernels, stride=stride, groups=b)

    def _log(self, mel: Tensor) -> Tensor:
        if self._options.log == "natural":
            return torch.log(mel)
        scale = 1.0 if self._options.log == "log10" else 20.0 / self._options.power
        return torch.log(mel) * (scale / math.log(10))


def _multiply(values: Tensor, matrix: Tensor) -> Tensor:
    return torch.matmul(matrix, values)


def filters_in_order(filters: NDArray[np.float64], a: int, b: int) -> NDArray[np.float64]:
    """Return the columns in the order of the bins that come out: float64[n_mels, b * inner_bins(a)]; each bin counts once."""
    order = bins(a, b)
    return np.where(order >= 0, filters[:, order], 0.0)

"""Compute the power spectrum of frames in a torch module of plain convolutions and matrix products, for any ONNX runtime.

The STFT operator of ONNX has no CUDA kernel and is slow on CPUs; fourier_stages.py says what is used instead. Bins stay in the
order they come in: what follows puts its weights in that order instead.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avizor_export.front_ends.compensated import CompensatedProduct, Product
from avizor_export.front_ends.fourier_stages import best_split, bins, inner_bins, inner_kernels, outer_matrix
from avizor_export.front_ends.mel_filters import analysis_window
from avizor_inference.items.kinds.sound_front_ends import SpectralFrontEnd

# By how much the mean and the sample before can enlarge a sample: each adds its own magnitude at most.
_LARGEST_OF_A_FRAME = 4


class Spectrum(nn.Module):
    """Computes float32[rows, samples] -> float32[rows, len(order), frames]: power or magnitude, as `power` says.

    order: the frequency bin 0..n_fft / 2 of each value; -1 for one that was there before.
    """

    def __init__(self, options: SpectralFrontEnd) -> None:
        super().__init__()
        self._options = options
        self.split = best_split(options.n_fft, options.hop_length, cut_first=options.pad_end)
        a, b, _ = self.split
        self.order: NDArray[np.int64] = bins(a, b)
        inner, outer = inner_kernels(analysis_window(options), a, b), outer_matrix(b)
        if options.compensated:
            # Samples are in [-1, 1] and so is the window; each inner sum has a terms, the outer one n_fft of them.
            largest = _LARGEST_OF_A_FRAME if options.remove_dc or options.preemphasis else 1
            self.inner: nn.Module = CompensatedProduct(self._convolve, inner, largest_sum=largest * a)
            self.outer: nn.Module = CompensatedProduct(_multiply, outer, largest_sum=largest * a * b)
        else:
            self.inner, self.outer = Product(self._convolve, inner), Product(_multiply, outer)

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the spectrum of each frame."""
        power = self._power(waveform)
        if self._options.scale != 1:
            power = power * self._options.scale**2
        return torch.sqrt(power) if self._options.power == 1 else power

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
        length, hop = self._options.frame_length, self._options.hop_length
        frames, blocks = 1 + (waveform.shape[1] - length) // hop, -(-length // hop)
        whole = (frames + blocks - 1) * hop
        waveform = nn.functional.pad(waveform, (0, max(0, whole - waveform.shape[1])))[:, :whole]
        rows = waveform.reshape(-1, frames + blocks - 1, hop)
        cut = [rows[:, block : block + frames, : length - block * hop] for block in range(blocks)]
        return self._prepared(torch.cat(cut, dim=2)).reshape(-1, frames * self._options.n_fft)

    def _prepared(self, frames: Tensor) -> Tensor:
        """Return frames as Kaldi prepares them: [batch, frames, frame_length] -> [batch, frames, n_fft].

        Each is less its mean, then less a share of the sample before (of the first sample, of itself); zeros follow.
        """
        options = self._options
        if options.remove_dc:
            frames = frames - frames.mean(dim=2, keepdim=True)
        if options.preemphasis:
            before = torch.cat([frames[:, :, :1], frames[:, :, :-1]], dim=2)
            frames = frames - options.preemphasis * before
        missing = options.n_fft - options.frame_length
        return nn.functional.pad(frames, (0, missing)) if missing else frames

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


def _multiply(values: Tensor, matrix: Tensor) -> Tensor:
    return torch.matmul(matrix, values)

"""Front ends as torch modules: what a model needs done to raw input, to be exported into its graph. Always FP32."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avizor_inference.manifest import AudioInput, ImageFrontEnd, ImageInput, InputSpec, LogMelFrontEnd


class ImageScaling(nn.Module):
    """uint8[batch, height, width, channels] -> float32[batch, channels, height, width], (pixel / 255 - mean) / std."""

    scale: Tensor
    offset: Tensor

    def __init__(self, parameters: ImageFrontEnd) -> None:
        super().__init__()
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (parameters.mean, parameters.std))
        # One multiplication and one addition per pixel: x / 255 / std - mean / std.
        self.register_buffer("scale", (1 / (255 * std)).float().reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("offset", (-mean / std).float().reshape(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Scale and move channels first."""
        return image.permute(0, 3, 1, 2).float() * self.scale + self.offset


class LogMel(nn.Module):
    """float32[batch, samples] -> float32[batch, 1, n_mels, frames], the standardised log-mel of LogMelFrontEnd.

    frames = 1 + (samples - n_fft) // hop_length. The discrete Fourier transform is a strided convolution with the windowed
    cosines and sines, since the STFT operator of ONNX has no CUDA kernel.
    """

    basis: Tensor
    filters: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, parameters: LogMelFrontEnd, sample_rate: int) -> None:
        super().__init__()
        self.hop_length = parameters.hop_length
        self.floor = parameters.floor
        f_max = parameters.f_max if parameters.f_max is not None else sample_rate / 2
        filters = mel_filters(sample_rate, parameters.n_fft, parameters.n_mels, parameters.f_min, f_max)
        self._register("basis", windowed_fourier_basis(parameters.n_fft)[:, None, :])
        self._register("filters", filters)
        self._register("mean", np.array(parameters.mean).reshape(1, -1, 1))
        self._register("std", np.array(parameters.std).reshape(1, -1, 1))

    def _register(self, name: str, values: NDArray[np.float64]) -> None:
        # Computed in float64 and rounded once. Not part of the state dict: the parameters are in the manifest.
        self.register_buffer(name, torch.from_numpy(values.astype(np.float32)), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Power spectrum, mel bands, logarithm, standardisation."""
        spectrum = nn.functional.conv1d(waveform[:, None, :], self.basis, stride=self.hop_length)
        real, imaginary = spectrum.chunk(2, dim=1)
        power = real * real + imaginary * imaginary
        log_mel = torch.log(torch.clamp(torch.matmul(self.filters, power), min=self.floor))
        return ((log_mel - self.mean) / self.std)[:, None]


def front_end(spec: InputSpec) -> nn.Module:
    """The front end that an input description asks for; nothing at all for a model that takes its own tensor."""
    if isinstance(spec, ImageInput):
        return ImageScaling(spec.front_end)
    if isinstance(spec, AudioInput):
        return LogMel(spec.front_end, spec.sample_rate)
    return nn.Identity()


def standardised(spec: AudioInput, windows: Iterable[Tensor]) -> AudioInput:
    """The same description with mean and std per mel band taken from training data, batches of float32[batch, samples]."""
    plain = spec.front_end.model_copy(update={"mean": (0.0,), "std": (1.0,)})
    log_mel = LogMel(plain, spec.sample_rate)
    count, total, squares = 0, torch.zeros(plain.n_mels, dtype=torch.float64), torch.zeros(plain.n_mels, dtype=torch.float64)
    with torch.inference_mode():
        for batch in windows:
            bands = log_mel(batch)[:, 0].double()
            count += bands.shape[0] * bands.shape[2]
            total += bands.sum(dim=(0, 2))
            squares += (bands * bands).sum(dim=(0, 2))
    if count == 0:
        raise ValueError("no windows to take mean and standard deviation from")
    mean = total / count
    # A band that never changes (beyond the recording's bandwidth, say) is left at its own scale.
    std = torch.sqrt(torch.clamp(squares / count - mean * mean, min=0.0))
    std = torch.where(std < 1e-3, torch.ones_like(std), std)
    constants = {"mean": tuple(mean.float().tolist()), "std": tuple(std.float().tolist())}
    return spec.model_copy(update={"front_end": plain.model_copy(update=constants)})


def windowed_fourier_basis(n_fft: int) -> NDArray[np.float64]:
    """Periodic-Hann-windowed cosines, then sines: float64[2 * (n_fft // 2 + 1), n_fft]."""
    n = np.arange(n_fft)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / n_fft)
    # The phase is reduced modulo n_fft as a whole number, so that it stays exact for large products.
    phase = 2 * np.pi * (np.outer(np.arange(n_fft // 2 + 1), n) % n_fft) / n_fft
    return np.concatenate([np.cos(phase), -np.sin(phase)]) * window


def mel_filters(sample_rate: int, n_fft: int, n_mels: int, f_min: float, f_max: float) -> NDArray[np.float64]:
    """Slaney's triangular mel filters, each of area 1 in Hz: float64[n_mels, n_fft // 2 + 1].

    M. Slaney, "Auditory Toolbox" (1998): linear below 1 kHz, logarithmic above; the default of librosa.filters.mel.
    """
    if not 0 <= f_min < f_max <= sample_rate / 2:
        raise ValueError(
            f"mel bands from {f_min} to {f_max} Hz do not lie within 0 to {sample_rate / 2} Hz, half the sample rate"
        )
    frequencies = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    edges = _mel_to_hz(np.linspace(_hz_to_mel(f_min), _hz_to_mel(f_max), n_mels + 2))
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    empty = np.flatnonzero(triangles.sum(axis=1) == 0)
    if len(empty):
        raise ValueError(f"{len(empty)} of {n_mels} mel bands hold no frequency bin; use fewer bands or a larger n_fft")
    return np.asarray(triangles * (2 / (edges[2:] - edges[:-2]))[:, None])


_LINEAR_HZ_PER_MEL = 200 / 3
_LOG_FROM_HZ = 1000.0
_LOG_FROM_MEL = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_FROM_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return float(_LOG_FROM_MEL + np.log(hz / _LOG_FROM_HZ) / _LOG_STEP)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithmic = _LOG_FROM_HZ * np.exp(_LOG_STEP * (mel - _LOG_FROM_MEL))
    return np.where(mel < _LOG_FROM_MEL, mel * _LINEAR_HZ_PER_MEL, logarithmic)

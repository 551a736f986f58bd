"""What tests of every suite share: sounds, and a network of no size that divides."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from avizor_export.architectures.autoencoder import Autoencoder
from avizor_inference.items.inputs import AudioInput, CategoryColumn, LogMelFrontEnd, NumberColumn, TableFrontEnd, TableInput
from avizor_inference.repository.calibration import BySource, Calibration

ROOT = Path(__file__).parent.parent
# Real data, where there is some.
DATA = Path(os.environ.get("AVIZOR_DATA", ROOT.parent / "shared" / "data"))

SAMPLE_RATE = 8000


def on_gpu() -> bool:
    """Whether this run is to prove the GPU (`make test-gpu`)."""
    return os.environ.get("AVIZOR_GPU") == "1"


SOUND = AudioInput(
    sample_rate=SAMPLE_RATE,
    window_samples=4096,
    hop_samples=4096,
    front_end=LogMelFrontEnd(n_fft=256, hop_length=240, n_mels=16, floor=1e-6, mean=(-5.0,), std=(3.0,)),
)
FRAMES = 17

TRANSFER = TableInput(
    front_end=TableFrontEnd(
        columns=(
            NumberColumn(name="amount", fill=50.0, lower=0.0, upper=1e6, scale="log1p", mean=4.0, std=1.0),
            NumberColumn(name="hour", fill=12.0, mean=12.0, std=6.0),
            CategoryColumn(name="country", categories=("ES", "FR", "IT")),
        )
    )
)


def tone(seconds: float, seed: int = 0, hz: float = 440.0) -> NDArray[np.float32]:
    """A tone in a little noise: float32[samples] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * hz * time) + 0.02 * rng.standard_normal(len(time))).astype(np.float32)


def transfers(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Rows of TRANSFER, some values missing: float32[count, 3]."""
    rng = np.random.default_rng(seed)
    columns = [rng.lognormal(4, 1, count), rng.uniform(0, 24, count), rng.integers(0, 3, count)]
    rows = np.stack(columns, axis=1).astype(np.float32)
    rows[rng.random(rows.shape) < 0.05] = np.nan
    return rows


def write_wav(path: Path, samples: NDArray[np.float32], rate: int = SAMPLE_RATE) -> Path:
    """Write a 16-bit WAV file, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


def calibration(sources: BySource, short: BySource | None = None) -> Calibration:
    """A calibration of no particular model."""
    return Calibration(
        model="m",
        version=1,
        model_sha256="0",
        provider="CPUExecutionProvider",
        created=datetime.now(UTC),
        sources=sources,
        short=short or {},
    )


class PaddedAutoencoder(Autoencoder):
    """An autoencoder for 17 frames, which no stride divides: pads to 24 and cuts back."""

    def __init__(self) -> None:
        super().__init__("conv4s2bn conv8s2bn conv16s2bn latent4", (1, 16, 24))

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(items, (0, 24 - FRAMES))
        return super().forward(padded)[..., :FRAMES]

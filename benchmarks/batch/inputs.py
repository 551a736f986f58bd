"""Make the clips and the models of the benchmark."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn
from torchvision.models import resnet18

sys.path.insert(0, str(Path(__file__).parent.parent))
from batch.sound import AUTOENCODER, CLASSIFIER, PATCH, RATE, SAMPLES, SOUND

from avizor_export.architectures.catalogue import build_autoencoder
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_export.triton_config.settings import ServingOptions
from avizor_inference.items.input_spec import InputSpec, TensorInput

# Clips that differ. A larger set has them under several names.
_DIFFERENT = 1000

_AS_EXPORTED = ServingOptions()


def write_clips(folder: Path, count: int, like: Path | None = None) -> None:
    """Write `count` clips. like: clips that were written before, to link to."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    time = np.arange(SAMPLES) / RATE
    for number in range(count):
        path = folder / f"{number:06d}.wav"
        first = (like or folder) / f"{number % _DIFFERENT:06d}.wav"
        if first.exists():
            os.link(first, path)
            continue
        tones = sum(np.sin(2 * np.pi * pitch * time) for pitch in generator.uniform(100, 3000, 5))
        sound = 0.1 * tones * np.exp(-3 * time) + 0.01 * generator.standard_normal(SAMPLES)
        soundfile.write(path, sound, RATE, subtype="PCM_16")


def export_models(folder: Path, sound: InputSpec = SOUND, suffix: str = "", serving: ServingOptions = _AS_EXPORTED) -> None:
    """Export both models with random weights: speed does not depend on them. suffix: of their names."""
    torch.manual_seed(0)
    network = resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    request = ExportRequest(CLASSIFIER + suffix, "classify", sound, labels=list("0123456789"), serving=serving)
    export_model(network.eval(), request, folder)
    export_autoencoder(folder, sound, suffix, serving)


def export_plain_models(folder: Path) -> None:
    """Export the same networks for those who compute the log-mel themselves."""
    export_models(folder, TensorInput(name="log_mel", dtype="float32", item_shape=PATCH), "-plain")


def export_autoencoder(
    folder: Path, sound: InputSpec = SOUND, suffix: str = "", serving: ServingOptions = _AS_EXPORTED
) -> None:
    """Export the autoencoder alone."""
    autoencoder = build_autoencoder("conv16s2bn conv32s2bn conv64s2bn latent64", PATCH)
    export_model(autoencoder, ExportRequest(AUTOENCODER + suffix, "reconstruct", sound, serving=serving), folder)

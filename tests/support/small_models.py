"""Export the small models that all suites use."""

from __future__ import annotations

from pathlib import Path

import torch

from avizor_export.architectures.catalogue import build
from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import ImageInput
from support.networks import PaddedAutoencoder
from support.sounds import FRAMES, SAMPLE_RATE, SOUND, tone
from support.tables import TRANSFER, transfers


def export_small_models(folder: Path) -> None:
    """Fill a repository: see the fixture `models`."""
    torch.manual_seed(0)
    image = ImageInput(height=32, width=32, channels=1)
    export_model(
        LeNet(), ExportRequest("digits", "classify", image, labels=list("0123456789"), serving={"max_batch_size": 16}), folder
    )
    kinds = build("conv4bn pool conv8bn pool conv12bn pool conv16bn pool gap drop0.3 fc", 3, (1, 16, FRAMES))
    export_model(
        kinds, ExportRequest("kinds", "classify", SOUND, labels=["low", "mid", "high"], serving={"max_batch_size": 16}), folder
    )
    normal = [
        NormalRecording(source, tone(3 * 4096 / SAMPLE_RATE, seed=seed).reshape(3, 4096))
        for source in ("a", "b")
        for seed in range(30)
    ]
    request = ExportRequest("normal", "reconstruct", SOUND, normal=normal, serving={"max_batch_size": 16})
    export_model(PaddedAutoencoder(), request, folder)
    rows = [NormalRecording("a", row[None]) for row in transfers(40)]
    request = ExportRequest(
        "transfers", "reconstruct", TRANSFER, real_items=transfers(8), normal=rows, serving={"max_batch_size": 16}
    )
    export_model(torch.nn.Linear(5, 5), request, folder)

"""Export the small models that all suites use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from avizor_export.architectures.catalogue import build
from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import ImageInput, TensorInput
from support.networks import PaddedAutoencoder
from support.sounds import FRAMES, SAMPLE_RATE, SOUND, tone
from support.tables import TRANSFER, transfers


class Lookup(torch.nn.Module):
    """Class scores out of a table of five rows."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(5, 3)

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        """int64[n, 1] -> float32[n, 3]. An index that the table does not have is an error that shows only in a run."""
        scores: torch.Tensor = self.table(index[:, 0].long())
        return scores


def export_lookup(folder: Path) -> None:
    """Publish `lookup`, whose runs fail at an index over 4 in ONNX Runtime; OpenVINO takes zeros for it."""
    torch.manual_seed(0)
    indices = np.arange(5, dtype=np.int64)[:, None]
    request = ExportRequest(
        "lookup",
        "classify",
        TensorInput(item_shape=(1,), dtype="int64"),
        labels=list("abc"),
        real_items=indices,
        serving={"max_batch_size": 8},
    )
    export_model(Lookup(), request, folder)


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

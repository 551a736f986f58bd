"""parity/rounding.py.

Networks with group and instance norms, which amplify rounding where a map is constant, are proven all the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from avizor_export.exporter import adopt_model, export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import ImageInput, InputSpec, TensorInput

IMAGE = ImageInput(height=16, width=16, channels=3)
LABELS = ["a", "b", "c"]


class GroupNormUNet(nn.Module):
    """Two steps down, two up, and a way past each; a group norm in each block."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down1, self.down2, self.middle = _block(3, 8), _block(8, 16), _block(16, 32)
        self.up2, self.block2 = nn.ConvTranspose2d(32, 16, 2, 2), _block(32, 16)
        self.up1, self.block1, self.head = nn.ConvTranspose2d(16, 8, 2, 2), _block(16, 8), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.down1(x)
        half = self.down2(torch.max_pool2d(wide, 2))
        back = self.block2(torch.cat([self.up2(self.middle(torch.max_pool2d(half, 2))), half], 1))
        image: Tensor = self.head(self.block1(torch.cat([self.up1(back), wide], 1)))
        return image


def _block(before: int, after: int) -> nn.Sequential:
    first = nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    return nn.Sequential(*first, nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(4, after), nn.SiLU())


class InstanceNorms(nn.Module):
    """Three instance norms: of a constant map each makes 316 times its rounding, since its variance is 0 and its eps 1e-5."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        sizes = [(3, 32), (32, 64), (64, 64)]
        layers = [
            (nn.Conv2d(before, after, 3, padding=1), nn.InstanceNorm2d(after, affine=True), nn.ReLU(), nn.MaxPool2d(2))
            for before, after in sizes
        ]
        self.layers, self.linear = nn.Sequential(*(layer for block in layers for layer in block)), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.layers(x).mean((2, 3)))
        return logits


def test_a_u_net_with_group_norms(tmp_path: Path) -> None:
    version = export_model(GroupNormUNet(), ExportRequest("m", "reconstruct", IMAGE), tmp_path)
    assert version.manifest.parity.samples == ("zeros", "random")


def test_zeros_that_give_rounding_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    version = export_model(InstanceNorms(), ExportRequest("m", "classify", IMAGE, labels=LABELS), tmp_path)
    assert version.manifest.parity.samples == ("random",)
    assert version.manifest.simplified
    assert any("zeros are left out of the parity check" in record.message for record in caplog.records)


@pytest.mark.slow
@pytest.mark.parametrize("spec", [IMAGE, TensorInput(name="x", item_shape=(3, 16, 16))])
def test_of_an_onnx_file_too(tmp_path: Path, spec: InputSpec) -> None:
    path, free = tmp_path / "given.onnx", {0: torch.export.Dim("batch")}
    example = (torch.rand(2, 3, 16, 16),)
    torch.onnx.export(
        InstanceNorms().eval(), example, path, dynamo=True, dynamic_shapes=(free,), input_names=["x"], verbose=False
    )
    request = ExportRequest("m", "classify", spec, labels=LABELS)
    assert adopt_model(path, request, tmp_path / "models").manifest.parity.samples == ("random",)

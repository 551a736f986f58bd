"""`avizor export --verify-with`: the proof once more through a real Triton, before publication."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import SOUND, PaddedAutoencoder
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.errors import ExportError
from avizor_inference.inputs import ImageInput


def test_the_same_comparison_through_a_live_server(triton_install: TritonInstall, models: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    with TritonServer(triton_install, models) as server:
        address = f"triton://{server.grpc_url}"
        image = ImageInput(height=32, width=32, channels=1)
        request = ExportRequest("digits", "classify", image, labels=list("0123456789"), max_batch_size=8, verify_with=address)
        report = export_model(LeNet(), request, tmp_path).manifest.parity.server
        assert report is not None
        assert report.address == address
        assert set(report.outputs) == {"probabilities", "embedding", "activations"}
        assert all(output.passed and output.largest_absolute < 1e-4 for output in report.outputs.values())
        sound = ExportRequest("sound", "reconstruct", SOUND, max_batch_size=8, verify_with=address)
        report = export_model(PaddedAutoencoder(), sound, tmp_path).manifest.parity.server
        assert report is not None
        assert "score" in report.outputs


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    image = ImageInput(height=32, width=32, channels=1)
    request = ExportRequest("digits", "classify", image, labels=list("0123456789"), verify_with="triton://127.0.0.1:1")
    with pytest.raises(ExportError, match=r"Triton at 127\.0\.0\.1:1 cannot verify"):
        export_model(LeNet(), request, tmp_path)
    assert not (tmp_path / "digits").exists()


@pytest.mark.parametrize("address", ["localhost:8001", "triton://"])
def test_an_address_that_is_none(tmp_path: Path, address: str) -> None:
    image = ImageInput(height=32, width=32, channels=1)
    request = ExportRequest("digits", "classify", image, labels=list("0123456789"), verify_with=address)
    with pytest.raises(ExportError, match="write triton://HOST:PORT"):
        export_model(LeNet(), request, tmp_path)

"""`avizor export --verify-with` repeats the proof on a real Triton before publication."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.networks import PaddedAutoencoder
from support.sounds import SOUND
from torch import nn
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_export.triton_config.settings import ServingOptions
from avizor_inference.errors import ExportError
from avizor_inference.items.inputs import ImageInput, TensorInput


def test_the_same_comparison_through_a_live_server(triton_install: TritonInstall, models: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    with TritonServer(triton_install, models) as server:
        address = f"triton://{server.grpc_url}"
        image = ImageInput(height=32, width=32, channels=1)
        request = ExportRequest(
            "digits", "classify", image, labels=list("0123456789"), serving={"max_batch_size": 8}, verify_with=address
        )
        report = export_model(LeNet(), request, tmp_path).manifest.parity.server
        assert report is not None
        assert report.address == address
        assert set(report.outputs) == {"probabilities", "embedding", "activations"}
        assert all(output.passed and output.largest_absolute < 1e-4 for output in report.outputs.values())
        sound = ExportRequest("sound", "reconstruct", SOUND, serving={"max_batch_size": 8}, verify_with=address)
        report = export_model(PaddedAutoencoder(), sound, tmp_path).manifest.parity.server
        assert report is not None
        assert "score" in report.outputs
        assert report.rank_correlation == pytest.approx(1.0)
        assert report.batch_sizes == (1, 2, 3, 8)


def test_batches_that_are_larger_than_the_servers_and_no_patience(
    triton_install: TritonInstall, models: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    spec, network = TensorInput(name="x", item_shape=(6,)), nn.Linear(6, 3)
    with TritonServer(triton_install, models, load_models=()) as server:
        serving: ServingOptions = {"max_batch_size": 5, "queue_timeout_ms": 1, "response_cache": True}
        address = f"triton://{server.grpc_url}"
        request = ExportRequest("m", "classify", spec, labels=list("abc"), verify_with=address, serving=serving)
        version = export_model(network, request, tmp_path)
    report = version.manifest.parity.server
    assert report is not None
    assert report.batch_sizes == (1, 2, 3, 5)
    assert report.top1_agreement == 1.0
    assert "Through the server: Most probable class the same on 100.0%" in (version.folder / "card.md").read_text()


def test_a_server_that_refuses_says_why(triton_install: TritonInstall, models: Path, tmp_path: Path) -> None:
    """Advice on the server's mode is given where that is what is wrong, and not where the model is."""
    spec = TensorInput(name="x", item_shape=(6,))
    with TritonServer(triton_install, models, model_control="none") as server:
        address = f"triton://{server.grpc_url}"
        request = ExportRequest("m", "classify", spec, labels=list("abc"), verify_with=address)
        with pytest.raises(ExportError, match=r"; start it with --model-control-mode=explicit$"):
            export_model(nn.Linear(6, 3), request, tmp_path)
    with TritonServer(triton_install, models, load_models=()) as server:
        address = f"triton://{server.grpc_url}"
        wanting = ExportRequest("m", "classify", spec, labels=list("abc"), verify_with=address, serving={"target": "gpu"})
        with pytest.raises(ExportError, match="cannot serve the model as avizor-verify-") as raised:
            export_model(nn.Linear(6, 3), wanting, tmp_path)
        assert "explicit" not in str(raised.value)
        assert "check that gRPC reaches it" not in str(raised.value)


class Untouched(nn.Module):
    """A network that nothing may run."""

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the long work began")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("triton://127.0.0.1:1", r"no Triton answers at 127\.0\.0\.1:1: .*; start it, and check that gRPC reaches it"),
        ("localhost:8001", "is not a server address; write triton://HOST:PORT"),
        ("triton://::1", r"is not a server address; write triton://HOST:PORT .* IPv6 address as triton://\[::1\]:8001"),
    ],
)
def test_no_server_is_noticed_before_the_long_work(tmp_path: Path, address: str, message: str) -> None:
    spec = TensorInput(name="x", item_shape=(6,))
    request = ExportRequest("m", "classify", spec, labels=list("abc"), verify_with=address)
    with pytest.raises(ExportError, match=message):
        export_model(Untouched(), request, tmp_path)
    assert not (tmp_path / "m").exists()

"""`avizor export --verify-with` repeats the proof on a real Triton before publication."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from support.networks import PaddedAutoencoder
from support.sounds import SOUND
from torch import nn
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import adopt_model, export_model
from avizor_export.request import ExportRequest
from avizor_export.triton_config.settings import ServingOptions
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import ImageInput, TensorInput


class Rows(CalibrationDataReader):
    """The rows that the ranges of int8 are taken from."""

    def __init__(self) -> None:
        self._left = [{"rows": np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)}]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return self._left.pop() if self._left else None


@pytest.mark.slow  # starts a Triton of its own
def test_triton_runs_operators_of_scikit_learn_and_files_that_came_quantised(
    triton_install: TritonInstall, models: Path, tmp_path: Path
) -> None:
    items, labels = load_iris(return_X_y=True)
    forest = RandomForestClassifier(5, random_state=0).fit(items.astype(np.float32), labels)
    (tmp_path / "forest.onnx").write_bytes(to_onnx(forest, items[:1].astype(np.float32)).SerializeToString())
    program = torch.onnx.export(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)).eval(), (torch.zeros(2, 4),), input_names=["rows"],
        dynamic_shapes=({0: torch.export.Dim("batch")},), opset_version=18, dynamo=True, verbose=False,
    )  # fmt: skip
    assert program is not None
    program.save(tmp_path / "plain.onnx")
    quantize_static(tmp_path / "plain.onnx", tmp_path / "int8.onnx", Rows(), quant_format=QuantFormat.QDQ)
    rows = ExportRequest("forest", "classify", TensorInput(name="X", item_shape=(4,)), serving={"max_batch_size": 8})
    quantised = ExportRequest("int8", "reconstruct", TensorInput(name="rows", item_shape=(4,)), serving={"max_batch_size": 8})
    with TritonServer(triton_install, models) as server:
        address = f"triton://{server.grpc_url}"
        for request in (rows, quantised):
            version = adopt_model(tmp_path / f"{request.name}.onnx", replace(request, verify_with=address), tmp_path / "models")
            report = version.manifest.parity.server
            assert report is not None
            assert all(output.passed for output in report.outputs.values())
    assert version.manifest.precision == "int8"


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


@pytest.mark.slow
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

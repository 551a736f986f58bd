"""A model of signals answers through the gateway as in a batch job, on both engines."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from integration.gateway import gateway
from integration.jobs import query
from support.signals import SIGNAL, SUFFIXES, vibration, write_signal
from triton_server.server import TritonServer

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc
from avizor_cli.main import avizor
from avizor_export.architectures.catalogue import build_autoencoder
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import SignalFrontEnd


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained autoencoder of signals, calibrated with recordings of one window, and files of two windows beside it."""
    folder = tmp_path_factory.mktemp("signals")
    torch.manual_seed(0)
    spec = SIGNAL.model_copy(update={"front_end": SignalFrontEnd(mean=(0.0, 100.0), std=(9.0, 4.0))})
    normal = [NormalRecording("pump", vibration(250, seed).T[None].copy()) for seed in range(20)]
    network = build_autoencoder("conv4s2 conv4s4k9p4 latentmap2", (2, 250))
    export_model(network, ExportRequest("pumps", "reconstruct", spec, normal=normal), folder / "models")
    for number, suffix in enumerate(SUFFIXES):
        write_signal(folder / "data" / "pump" / f"{number}{suffix}", vibration(400, seed=100))
    (folder / "data" / "pump" / "torn.csv").write_text("ax,ay\n1,2\n3,\n")
    return folder


def scores_of_batch(folder: Path) -> dict[str, float]:
    command = ["batch", "data", "--model", "pumps", "--out", "results", "--alpha", "0.05", "--workers", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(avizor, command)
        assert result.exit_code == 3, result.output
        ((uri, message),) = query("select uri, message from 'results/dead_letters/*.parquet'")
        assert (uri, message.partition(";")[0]) == ("data/pump/torn.csv", "torn.csv: line 3 has no value in column 2")
        assert "sound" not in result.output
        return dict(query("select uri, score from 'results/recordings/*.parquet'"))


@pytest.mark.parametrize("engine", ["embedded", "triton"])
def test_files_of_every_format_get_the_verdicts_of_the_batch_job(
    repository: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    if engine == "triton":
        with TritonServer(request.getfixturevalue("triton_install"), repository / "models") as server:
            check_gateway(repository, "--engine", f"triton://{server.grpc_url}")
    else:
        check_gateway(repository)
        scores = scores_of_batch(repository)
        assert len(scores) == len(SUFFIXES)
        assert len(set(scores.values())) == 1


def check_gateway(repository: Path, *options: str) -> None:
    files = sorted((repository / "data" / "pump").iterdir())
    window = vibration(250, seed=100).T.copy()
    tensor = pb.Tensor(dtype="float32", shape=window.shape, data=window.tobytes())
    items = [pb.Item(source="pump", signal=path.read_bytes()) for path in files]
    items += [pb.Item(source="pump", tensor=tensor), pb.Item(source="pump", audio=b"sound")]
    with (
        gateway(repository / "models", "--alpha", "0.05", *options) as served,
        grpc.insecure_channel(served.address) as channel,
    ):
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        model = stub.GetModel(pb.GetModelRequest(name="pumps"))
        assert model.signal == pb.SignalInput(channels=2, window_samples=250, hop_samples=250, columns=["ax", "ay"])
        answer = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="pumps", items=items), wait_for_ready=True, timeout=60)
    *signals, torn, of_tensor, other = answer.items
    assert len({verdict.score for verdict in signals}) == 1
    assert [(each.span.start_sample, each.span.end_sample, each.span.end_s) for each in signals[0].windows] == [
        (0, 250, 0), (150, 400, 0)
    ]  # fmt: skip
    assert of_tensor.score == pytest.approx(signals[0].windows[0].score, rel=1e-5)
    assert np.isfinite(of_tensor.p_value)
    assert "line 3 has no value in column 2" in torn.error.message
    assert "the item holds audio; the model takes signal" in other.error.message

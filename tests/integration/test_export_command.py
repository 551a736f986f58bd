"""`avizor export` and `avizor models` work as users run them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.warm_starts import warm_run

from avizor_export.architectures.lenet import LeNet
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.items.input_spec import AudioInput, CategoryColumn, LogMelFrontEnd, TableFrontEnd, TableInput
from avizor_inference.repository.models import ModelRepository

AVIZOR = Path(sys.executable).with_name("avizor")

NET = """
from torch import nn

def autoencoder(latent):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16 * 17, latent))
            self.decoder = nn.Sequential(nn.Linear(latent, 16 * 17), nn.Unflatten(1, (1, 16, 17)))

        def forward(self, x):
            return self.decoder(self.encoder(x))

    return Net()
"""


def avizor(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return warm_run([str(AVIZOR), *map(str, arguments)], timeout=120, cwd=cwd)


def test_an_image_classifier(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = LeNet(classes=4, shape=(3, 32, 32))
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "labels.txt").write_text("north\neast\nsouth\nwest\n")
    items = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    np.save(tmp_path / "items.npy", items)
    (tmp_path / "figures.json").write_text(json.dumps({"test_accuracy": 0.5}))
    (tmp_path / "training.json").write_text(json.dumps({"loss": [2.0, 1.5, 1.0]}))
    result = avizor(
        "export", "avizor_export.architectures.lenet:LeNet", "--set", "classes=4", "--set", "shape=[3, 32, 32]",
        "--weights", tmp_path / "weights.pt", "--name", "winds", "--task", "classify", "--labels", tmp_path / "labels.txt",
        "--input", "image:height=32,width=32,channels=3,mean=-0.5,std=0.25", "--items", tmp_path / "items.npy",
        "--evaluation", tmp_path / "figures.json", "--training", tmp_path / "training.json", "--models", tmp_path / "models",
        "--max-batch-size", "8",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "Warning: mean -0.5 is not on the 0..1 scale" in result.stderr
    version = ModelRepository(tmp_path / "models").version("winds")
    manifest = version.manifest
    assert "![by epoch](card-training.png)" in (version.folder / "card.md").read_text(encoding="utf-8")
    assert (version.folder / "card-training.png").stat().st_size > 1000
    assert manifest.labels == ("north", "east", "south", "west")
    assert manifest.parity.samples == ("zeros", "random", "real")
    assert manifest.parity.batch_sizes == (1, 2, 3, 8)
    assert manifest.evaluation == {"test_accuracy": 0.5}
    assert manifest.provenance.parameters == sum(p.numel() for p in network.parameters())
    with EmbeddedEngine(tmp_path / "models") as engine:
        found = engine.infer(InferRequest("winds", {"image": items}, ["probabilities"]))["probabilities"]
    network.eval()
    with torch.inference_mode():
        scaled = (torch.from_numpy(items).permute(0, 3, 1, 2) / 255 + 0.5) / 0.25
        expected = torch.softmax(network(scaled), dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)

    listed = avizor("models", "--models", tmp_path / "models")
    assert "winds" in listed.stdout
    assert "image uint8[N,32,32,3]" in listed.stdout
    assert avizor("models", "check", "--models", tmp_path / "models").stdout == "winds: ok\n"


def test_an_autoencoder_of_the_users_own_with_calibration(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NET)
    for number in range(25):
        write_wav(tmp_path / "normal" / "fan" / f"{number}.wav", tone(1.0, seed=number))
    for number in range(9):
        write_wav(tmp_path / "normal" / "new" / f"{number}.wav", tone(1.0, seed=100 + number))
    result = avizor(
        "export", "mine:autoencoder", "--set", "latent=5", "--weights-in-factory", "--name", "fan", "--task", "reconstruct",
        "--input", "audio:sample_rate=8000,window_samples=4096,hop_samples=4096,n_fft=256,hop_length=240,n_mels=16",
        "--calibrate", "normal", "--fit-on", "normal", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "34 normal items (fan 25, new 9)" in result.stdout
    assert "the false-alarm rate is promised from alpha 0.039 on for fan, and from 0.1 on for new" in result.stdout
    version = ModelRepository(tmp_path / "models").version("fan")
    (calibration,) = version.calibrations()
    assert calibration.recordings("fan") == 25
    assert (version.folder / "calibrations" / f"{calibration.id}.json").exists()
    assert {len(windows) for windows in calibration.sources["fan"]} == {2}
    assert SAMPLE_RATE == 8000
    spec = version.manifest.input
    assert isinstance(spec, AudioInput)
    assert isinstance(spec.front_end, LogMelFrontEnd)
    assert (len(spec.front_end.mean), len(spec.front_end.std)) == (16, 16)  # fitted
    card = (version.folder / "card.md").read_text(encoding="utf-8")
    assert "| hop_length | 240 |" in card
    assert f"| mean | {min(spec.front_end.mean):.4g} to {max(spec.front_end.mean):.4g}, one for each of 16 bands" in card


@pytest.mark.slow
def test_an_autoencoder_whose_latent_vector_is_not_found_says_how_to_have_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NET.replace("self.encoder", "self.enc"))
    result = avizor(
        "export", "mine:autoencoder", "--set", "latent=5", "--weights-in-factory", "--name", "fan", "--task", "reconstruct",
        "--input", "tensor:name=x,item_shape=1/16/17", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "has no embedding; keep the part that returns the latent vector as the attribute `encoder`" in result.stderr
    assert "no calibration, so there are no p-values" in result.stdout
    assert "avizor calibrate fan --data DIR --models models --version 1 --activate" in result.stdout


@pytest.mark.slow
def test_a_factory_whose_weights_are_random_is_refused_unless_they_are_meant(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NET)
    asked = ["export", "mine:autoencoder", "--set", "latent=5", "--name", "fan", "--task", "reconstruct"]
    asked += ["--input", "tensor:name=x,item_shape=1/16/17"]
    result = avizor(*asked, cwd=tmp_path)
    assert result.returncode == 1
    assert "differ at each call: they are random, not trained" in result.stderr
    assert not (tmp_path / "models").exists()
    result = avizor(*asked, "--weights-in-factory", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert ModelRepository(tmp_path / "models").version("fan").manifest.provenance.arguments == {"latent": 5}


@pytest.mark.slow
def test_a_factory_that_always_gives_the_same_weights_is_taken_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n" + NET + "\n\ndef seeded():\n    torch.manual_seed(0)\n    return autoencoder(5)\n"
    )
    asked = ["export", "mine:seeded", "--name", "fan", "--task", "reconstruct"]
    result = avizor(*asked, "--input", "tensor:name=x,item_shape=1/16/17", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Warning: no --weights were given" in result.stderr
    assert (tmp_path / "models" / "fan" / "1" / "model.onnx").exists()


def test_a_failing_export_says_why_in_one_line_and_publishes_nothing(tmp_path: Path) -> None:
    torch.save(LeNet(classes=3).state_dict(), tmp_path / "weights.pt")
    result = avizor(
        "export", "avizor_export.architectures.lenet:LeNet", "--set", "classes=4", "--weights", tmp_path / "weights.pt",
        "--name", "m", "--task", "classify", "--input", "tensor:item_shape=1/32/32", "--models", tmp_path / "models",
    )  # fmt: skip
    assert result.returncode == 1
    assert "does not fit the network" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "models").exists()


def test_warnings_of_every_part_come_as_the_commands_own_lines(tmp_path: Path) -> None:
    columns = TableInput(front_end=TableFrontEnd(columns=(CategoryColumn(name="country", categories=("ES", "FR")),)))
    (tmp_path / "input.json").write_text(columns.model_dump_json())
    (tmp_path / "rows.csv").write_text("country\nES\nXX\n")
    result = avizor(
        "export", "torch.nn:Identity", "--name", "m", "--task", "reconstruct", "--input", "input.json", "--items", "rows.csv",
        "--verify-with", "nowhere", cwd=tmp_path,
    )  # fmt: skip
    opened, warning, read, error = result.stderr.splitlines()
    assert re.fullmatch(r"open the network \.\.\. \d+\.\d s", opened)
    assert re.fullmatch(r"read real items \.\.\. \d+\.\d s", read)
    assert warning == (
        "Warning: rows.csv: column 'country': 50.0% of the rows are of no category that the model has ('XX'), and 0.0% are "
        "missing."
    )
    assert error.startswith("Error: 'nowhere' is not a server address; write triton://HOST:PORT")


def test_check_exits_with_1_and_names_the_fault(tmp_path: Path, models: Path) -> None:
    import shutil

    shutil.copytree(models, tmp_path / "models")
    (tmp_path / "models" / "digits" / "labels.txt").unlink()
    result = avizor("models", "check", "--models", tmp_path / "models")
    assert result.returncode == 1
    assert "digits: WRONG" in result.stdout
    assert "kinds: ok" in result.stdout

"""docs/sound.md: its commands run unchanged, its recipes can be read, and mono and stereo are treated as its table says."""

from __future__ import annotations

import asyncio
import io
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from click.testing import CliRunner
from google.rpc.code_pb2 import Code
from support.environment import ROOT
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.warm_starts import warm_run
from unit.service.gateways import call, open_gateway

from avizor.v1 import inference_pb2 as pb
from avizor_cli.main import avizor
from avizor_export.front_ends.build import build_front_end
from avizor_export.networks.input_description import parse_input
from avizor_inference.items.input_spec import AudioInput, MfccFrontEnd, SpectrogramFrontEnd, WaveformFrontEnd
from avizor_inference.repository.models import ModelRepository
from avizor_service.rpcs.detect_anomaly import detect_anomaly
from avizor_service.rpcs.get_model import get_model

PAGE = (ROOT / "docs" / "sound.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
RECIPES = re.findall(r"^audio:\S+$", PAGE, re.MULTILINE)
NETWORKS = """
import torch
from torch import nn


class Last(nn.Module):
    def __init__(self, bands):
        super().__init__()
        self.linear = nn.Linear(bands, 2)

    def forward(self, frames):
        return self.linear(frames.mean(dim=1))


def waveforms():
    pooled = nn.Sequential(nn.Conv1d(1, 4, 80, stride=16), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    return nn.Sequential(pooled, nn.Linear(4, 2))


def coefficients():
    return Last(13)


def pump():
    return nn.Sequential(nn.Conv2d(2, 4, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2, stride=2))
"""


def stereo(seed: int) -> np.ndarray:
    return np.stack([tone(1.2, seed), tone(1.2, seed + 1000, hz=660)], axis=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the commands name, and one mono recording among those of the pump that the batch job reads."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "mynets.py").write_text(NETWORKS)
    (folder / "labels.txt").write_text("yes\nno\n")
    namespace: dict[str, object] = {}
    exec(NETWORKS, namespace)
    torch.manual_seed(0)
    for name in ("waveforms", "coefficients", "pump"):
        torch.save(namespace[name]().state_dict(), folder / f"{name}.pt")  # type: ignore[operator]
    for number in range(8):
        write_wav(folder / "words" / f"{number}.wav", tone(0.6, seed=number))
    for number in range(20):
        write_wav(folder / "pump" / "north" / f"{number}.wav", stereo(number))
    return folder


@pytest.fixture(scope="module")
def exported(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path])
        patch.delitem(sys.modules, "mynets", raising=False)  # of another page, which was run in this process
        for words in COMMANDS:
            if words[1] == "export":
                result = CliRunner().invoke(avizor, words[1:], catch_exceptions=False)
                assert result.exit_code == 0, f"{words}: {result.output}"
    return folder / "models"


def test_the_networks_get_what_the_page_says(exported: Path) -> None:
    repository = ModelRepository(exported)
    inputs = {name: repository.version(name).manifest.input for name in ("words", "commands", "pump")}
    front_ends = {name: type(spec.front_end) for name, spec in inputs.items() if isinstance(spec, AudioInput)}
    assert front_ends == {"words": WaveformFrontEnd, "commands": MfccFrontEnd, "pump": SpectrogramFrontEnd}
    tensors = {name: spec.tensor().item_shape for name, spec in inputs.items()}
    assert tensors == {"words": (4000,), "commands": (4000,), "pump": (2, 4096)}
    commands, pump = inputs["commands"].front_end_parameters, inputs["pump"].front_end_parameters
    assert isinstance(commands, MfccFrontEnd)
    assert (commands.preset, commands.n_fft, commands.lifter, len(commands.mean)) == ("kaldi", 256, 22, 13)
    assert isinstance(pump, SpectrogramFrontEnd)
    assert len(pump.std) == 64
    version = repository.version("pump")
    assert {output.name: output.item_shape for output in version.manifest.outputs} == {
        "score": (1,), "error_map": (2, 64, 32), "reconstruction": (2, 64, 32)
    }  # fmt: skip
    assert "| preset | kaldi |" in (repository.version("commands").folder / "card.md").read_text(encoding="utf-8")


def test_a_stereo_model_in_a_batch_job(exported: Path, folder: Path) -> None:
    write_wav(folder / "pump" / "north" / "mono.wav", tone(1.2))
    (command,) = [words for words in COMMANDS if words[1] == "batch"]
    program = Path(sys.executable).with_name("avizor")
    result = warm_run([str(program), *command[1:]], cwd=folder)
    (folder / "pump" / "north" / "mono.wav").unlink()
    assert result.returncode == 3, result.stderr  # one dead letter
    tables = {name: pq.read_table(folder / "results" / name).to_pylist() for name in ("windows", "recordings", "dead_letters")}
    assert {(row["channel"], row["start_sample"]) for row in tables["windows"]} == {(0, 0), (0, 4096), (0, 9600 - 4096)}
    assert len(tables["windows"]) == 3 * 20
    # They are the recordings of the calibration: the more unusual it is, the smaller is the p-value of each.
    by_score = sorted(tables["recordings"], key=lambda row: row["score"])
    assert [round(21 * row["p_value"]) for row in by_score] == list(range(21, 1, -1))
    (letter,) = tables["dead_letters"]
    assert letter["uri"].endswith("mono.wav")
    assert "the recording has 1 channel, and the model takes 2 together" in letter["message"]


def test_a_stereo_model_in_the_gateway(exported: Path) -> None:
    def item(samples: np.ndarray) -> pb.Item:
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, SAMPLE_RATE, format="WAV")
        return pb.Item(audio=buffer.getvalue(), source="north")

    request = pb.DetectAnomalyRequest(
        model="pump", items=[item(stereo(3)), item(tone(1.2)), item(np.tile(tone(1.2)[:, None], 3))]
    )
    with open_gateway(exported) as gateway:
        both, mono, three = asyncio.run(detect_anomaly(gateway, request, call("DetectAnomaly"))).items
        described = asyncio.run(get_model(gateway, pb.GetModelRequest(name="pump"), call("GetModel")))
    assert described.audio.channels == 2
    assert [(window.span.channel, window.span.start_s) for window in both.windows] == [(0, 0), (0, 0.512), (0, 0.688)]
    assert (both.judged_by, both.error.code) == ("north", Code.OK)
    assert (mono.error.code, three.error.code) == (Code.INVALID_ARGUMENT, Code.INVALID_ARGUMENT)
    assert "has 3 channels, and the model takes 2 together; convert it" in three.error.message


def test_recipes_can_be_read() -> None:
    assert len(RECIPES) == 5
    for recipe in RECIPES:
        spec = parse_input(recipe)
        assert build_front_end(spec)(torch.zeros(1, *spec.tensor().item_shape)).ndim in (3, 4)


def test_every_own_key_is_explained() -> None:
    for key in {"n_mfcc", "lifter", "lifter_start", "layout", "channels", "preset", "top_db", "ref"}:
        assert re.search(rf"`{key}[`=]", PAGE), key
    for value in ("NCFT", "NCTF", "NFT", "NTF", "NCS", "NS"):
        assert f"`{value}`" in PAGE

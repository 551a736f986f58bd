"""docs/grpc.md: its Python runs as it is, against a real gateway."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from google.protobuf.json_format import ParseDict
from integration.gateway import gateway, normal
from PIL import Image
from support.environment import ROOT

from avizor.v1 import inference_pb2 as pb
from avizor.v1.inference_pb2_grpc import InferenceServiceStub
from avizor_cli.main import avizor
from avizor_export.architectures.catalogue import build, build_autoencoder
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import ImageInput

PAGE = (ROOT / "docs" / "grpc.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def address(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A gateway with the models that the page names."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(models / "normal", "served/fan")
    for file in ("config.pbtxt", "1/manifest.json"):
        path = Path("served/fan", file)
        path.write_text(path.read_text().replace('"normal"', '"fan"'))
    torch.manual_seed(0)
    image = ImageInput(height=16, width=16, channels=1)
    digits = build("conv4 pool conv8 pool fc16 fc", 10, (1, 16, 16))
    export_model(digits, ExportRequest("digits", "classify", image, labels=list("0123456789")), Path("served"))
    denoiser = build_autoencoder("conv4 latentmap4", (1, 16, 16))
    export_model(denoiser, ExportRequest("digits-denoised", "reconstruct", image), Path("served"))
    with gateway(Path("served"), "--alpha", 0.05) as running:
        yield running.address


def test_the_examples_run(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (16, 16)).astype(np.uint8)
    Image.fromarray(noisy).save("noisy.png")
    code = "\n".join(BLOCKS)
    assert code.count("127.0.0.1:50051") == 1
    names: dict[str, object] = {}
    exec(code.replace("127.0.0.1:50051", address), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[1] == "(1, 16)"  # an embedding
    assert re.match(r"0\.\d+ (True|False)$|1\.0 False$", printed[2])
    assert printed[3].startswith("0.0 ")
    assert printed[3].endswith("(1, 16, 17)")
    assert "0.0" in printed  # between two embeddings of one picture
    assert printed[-1] == "50 rows of the model were run"  # 7 x 7 places and the picture itself
    assert re.match(r"3 0\.\d+ probability falls by -?\d", printed[-3])
    with Image.open("clean.png") as clean:
        assert (clean.format, clean.mode, clean.size) == ("PNG", "L", (16, 16))
    with Image.open("looked-at.png") as looked_at:
        assert looked_at.format == "PNG"
    request = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0].replace("UklGR...", b64encode(normal()).decode())
    with grpc.insecure_channel(address) as channel:
        (item,) = InferenceServiceStub(channel).Explain(ParseDict(json.loads(request), pb.ExplainRequest())).items
    assert (item.window, item.y.unit, item.settings["fill"]) == (2, "Hz", "silence")


def test_the_table_names_every_rpc() -> None:
    from avizor.v1 import inference_pb2 as pb

    table = PAGE.partition("| RPC |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == {
        method.name for method in pb.DESCRIPTOR.services_by_name["InferenceService"].methods
    }


def test_the_limit_of_the_page_is_the_default() -> None:
    option = next(option for option in avizor.get_command(None, "serve").params if option.name == "max_answer_mib")  # type: ignore[arg-type,union-attr]
    assert f"`--max-answer-mib` ({option.default} MiB unless it is set)" in PAGE

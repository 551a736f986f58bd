"""A new kind of item names itself in three files outside its own, and then everything works (docs/architecture.md).

The packages are copied. Video (tests/support/new_kind) is added to the copy in the way that the page says, and used there by
the export command and the gateway's translation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from support.environment import ROOT

from avizor.v1 import inference_pb2 as pb

PACKAGES = ("inference", "export", "pipeline", "service", "cli", "proto/gen")
OWN_FILES = {
    "item.py": "inference/avizor_inference/items/kinds/video.py",
    "front_end.py": "export/avizor_export/front_ends/kinds/video.py",
}
# File -> what stands there, and what is written after it.
NAMED_IN = {
    "inference/avizor_inference/items/input_spec.py": [
        ("ImageInput | AudioInput", " | VideoInput"),
        (
            "from avizor_inference.items.kinds.tensor import TensorInput\n",
            "from avizor_inference.items.kinds.video import VideoInput\n",
        ),
        ('    "TensorInput",\n', '    "VideoInput",\n'),
    ],
    "inference/avizor_inference/__init__.pyi": [
        (
            "from .items.input_spec import TensorInput as TensorInput\n",
            "from .items.input_spec import VideoInput as VideoInput\n",
        ),
    ],
    "proto/avizor/v1/inference.proto": [],  # its stubs are generated: see add_to_stubs
}
SHORT = "video:frames=2,height=8,width=8"
NETWORK = """
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3, padding=1))
"""
TRANSLATE = """
from pathlib import Path

import pytest

from avizor.v1 import inference_pb2 as pb
from avizor_inference import InvalidInput, ModelRepository, VideoInput
from avizor_inference.items.decode import decode_item
from avizor_service import wire

version = ModelRepository(Path("models")).version("films")
assert isinstance(version.manifest.input, VideoInput)
message = wire.model_message(version, [1], None)
assert message.video == pb.VideoInput(frames=2, height=8, width=8), message
item = decode_item(wire.content(pb.Item(video=Path("films/a/0.film").read_bytes())), version.manifest.input)
assert item.rows.shape == (1, 2, 8, 8)
with pytest.raises(InvalidInput, match="the item holds image; the model takes video"):
    decode_item(wire.content(pb.Item(image=b"")), version.manifest.input)
with pytest.raises(InvalidInput, match="send an image, audio, PCM, a video, a signal, a row or a tensor"):
    wire.content(pb.Item())
"""


def field(
    name: str, number: int, kind: FieldDescriptorProto.Type.ValueType, message: str | None = None
) -> FieldDescriptorProto:
    return FieldDescriptorProto(
        name=name, number=number, type=kind, type_name=message, label=FieldDescriptorProto.LABEL_OPTIONAL, json_name=name
    )


def add_to_stubs(stub: Path) -> None:
    """What `make proto` does with a message VideoInput, and a field `video` of Model.input and of Item.content."""
    file = FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)
    sizes = [
        field(name, number, FieldDescriptorProto.TYPE_INT32) for number, name in enumerate(("frames", "height", "width"), 1)
    ]
    file.message_type.append(DescriptorProto(name="VideoInput", field=sizes))
    messages = {message.name: message for message in file.message_type}
    for owner, added in (
        ("Model", field("video", 90, FieldDescriptorProto.TYPE_MESSAGE, ".avizor.v1.VideoInput")),
        ("Item", field("video", 90, FieldDescriptorProto.TYPE_BYTES)),
    ):
        added.oneof_index = 0
        messages[owner].field.append(added)
    text = stub.read_text()
    line = f"DESCRIPTOR = _descriptor_pool.Default().AddSerializedFile({file.SerializeToString()!r})"
    stub.write_text("\n".join(line if each.startswith("DESCRIPTOR = ") else each for each in text.splitlines()))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, path in OWN_FILES.items():
        assert not (ROOT / path).exists()
        shutil.copy(ROOT / "tests" / "support" / "new_kind" / name, tmp_path / path)
    for path, additions in NAMED_IN.items():
        for before, added in additions:
            text = (tmp_path / path).read_text()
            assert text.count(before) == 1
            (tmp_path / path).write_text(text.replace(before, before + added))
    add_to_stubs(tmp_path / "proto/gen/avizor/v1/inference_pb2.py")
    return tmp_path


def test_a_new_kind_is_named_in_three_files_and_everything_works(copy: Path) -> None:
    (copy / "network.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    for source, label in (("a", "normal"), ("b", "broken")):
        for folder in (copy / "films" / source, copy / "labelled" / label):
            folder.mkdir(parents=True)
            for number in range(8):
                (folder / f"{number}.film").write_bytes(rng.integers(100, 200, 2 * 8 * 8).astype(np.uint8).tobytes())

    def python(code: str, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(copy / package) for package in PACKAGES)}
        command = [sys.executable, "-c", code, *arguments]
        result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    options = ["--task", "reconstruct", "--input", SHORT, "--fit-on", "films", "--items", "films", "--calibrate", "films"]
    printed = python(
        "from avizor_cli.main import main; main()",
        *("export", "network:net", "--name", "films", *options, "--evaluate-on", "labelled"),
    )
    assert "Warning: a film of 2 frames is short." in printed
    assert "16 normal items (a 8, b 8)" in printed
    card = (copy / "models" / "films" / "1" / "card.md").read_text()
    assert "| pixels | 0.59 | " in card  # of whole numbers from 100 to 199, by 255
    assert "of zeros, random, real items" in card
    python(TRANSLATE)


def test_the_page_names_the_same_three_files() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## A new kind of item\n")[2].partition("\n## ")[0]
    assert [line.split("`")[1] for line in section.splitlines() if line[:2] in ("1.", "2.", "3.")] == list(NAMED_IN)
    assert all(f"`{Path(path).parent}/`" in section for path in OWN_FILES.values())

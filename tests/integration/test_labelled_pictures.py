"""Labelled pictures of many sizes: through the gateway each is answered as by torch with torchvision's transforms."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from integration.gateway import Gateway, gateway
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from avizor.v1 import inference_pb2 as pb
from avizor_cli.main import avizor
from avizor_export.architectures.catalogue import build
from avizor_inference.repository.models import ModelRepository

DIGITS = "conv8s2 conv16s2 fc10"
DIGITS_INPUT = "image:channels=1,resize=20,crop=16,mean=0.3,std=0.35"
SHAPES = ["blue", "green", "red"]
SHAPES_INPUT = "image:channels=3,resize=40,crop=32,filter=bicubic,order=bgr,layout=nhwc,range=-1..1"
MODULE = """
from torch import nn

class ChannelsLast(nn.Module):
    '''Takes [batch, height, width, channels], as networks that come from TensorFlow do.'''

    def __init__(self):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.last = nn.Linear(8, 3)

    def forward(self, images):
        return self.last(self.maps(images.permute(0, 3, 1, 2)).flatten(1))
"""


@dataclass(frozen=True)
class Folder:
    """Labelled pictures: the held-out files, the class of each, and what torch answers for them, float32[n, classes]."""

    files: list[Path]
    classes: list[int]
    expected: NDArray[np.float32]

    @property
    def accuracy(self) -> float:
        return float((self.expected.argmax(1) == self.classes).mean())


def digits(folder: Path) -> tuple[list[Path], list[int]]:
    """The digits of scikit-learn, 8 x 8, enlarged to pictures of many sizes and proportions."""
    rng, files, data = np.random.default_rng(0), [], load_digits()
    for number in range(240):
        pixels = (data.images[number] / 16 * 255).astype(np.uint8)
        width, height = (int(side) for side in rng.integers(17, 60, 2))
        files.append(folder / ("train" if number < 160 else "held-out") / str(data.target[number]) / f"{number}.png")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(files[-1])
    return files, [int(target) for target in data.target[:240]]


def shapes(folder: Path) -> tuple[list[Path], list[int]]:
    """Discs and boxes in dull colours on grey noise, wide and tall, as PNG and JPEG; the colour is the class."""
    rng, files, classes = np.random.default_rng(1), [], []
    for number in range(120):
        width, height = (int(side) for side in rng.integers(20, 120, 2))
        picture = Image.fromarray(rng.integers(60, 200, (height, width, 3)).astype(np.uint8))
        kind = int(rng.integers(3))
        colour = [int(level) for level in rng.integers(60, 120, 3)]
        colour[2 - kind] += 110
        box = (width * 0.2, height * 0.2, width * 0.8, height * 0.8)
        draw = ImageDraw.Draw(picture)
        (draw.ellipse if number % 2 else draw.rectangle)(box, fill=tuple(colour))
        name = f"{number}.{'png' if number % 3 else 'jpg'}"
        files.append(folder / ("train" if number < 60 else "held-out") / SHAPES[kind] / name)
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        picture.save(files[-1])
        classes.append(kind)
    return files, classes


def train(network: nn.Module, items: Tensor, classes: list[int]) -> None:
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(items), torch.tensor(classes)).backward()
        optimiser.step()
    network.eval()


def answers(network: nn.Module, items: Tensor) -> NDArray[np.float32]:
    with torch.inference_mode():
        return torch.softmax(network(items), 1).numpy()


def export(*command: object) -> None:
    result = CliRunner().invoke(avizor, ["export", *map(str, command)], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Folder]]]:
    """The repository, and the pictures of each model: `digits`, `shapes`, and `adopted`, the same network as an ONNX file."""
    root = tmp_path_factory.mktemp("pictures")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "path", [*sys.path])
        yield root / "models", {"digits": of_digits(root), **of_shapes(root)}


def of_digits(root: Path) -> Folder:
    steps = [transforms.Resize(20), transforms.CenterCrop(16), transforms.ToTensor(), transforms.Normalize(0.3, 0.35)]
    transform = transforms.Compose(steps)
    files, classes = digits(root / "digits")
    items = torch.stack([transform(Image.open(file)) for file in files])
    network = build(DIGITS, 10, (1, 16, 16))
    train(network, items[:160], classes[:160])
    torch.save(network.state_dict(), root / "digits.pt")
    (root / "digits.txt").write_text("\n".join("0123456789"))
    export(
        DIGITS, "--weights", "digits.pt", "--name", "digits", "--task", "classify", "--labels", "digits.txt",
        "--input", DIGITS_INPUT, "--items", "digits/train", "--evaluate-on", "digits/held-out",
    )  # fmt: skip
    return Folder(files[160:], classes[160:], answers(network, items[160:]))


def of_shapes(root: Path) -> dict[str, Folder]:
    """A network that takes blue first, channels last, -1..1, as OpenCV and TensorFlow users have them."""
    steps = [transforms.Resize(40, InterpolationMode.BICUBIC), transforms.CenterCrop(32), transforms.ToTensor()]
    transform = transforms.Compose(steps)
    files, classes = shapes(root / "shapes")
    items = torch.stack([transform(Image.open(file).convert("RGB")).flip(0).permute(1, 2, 0) * 2 - 1 for file in files])
    (root / "lastnets.py").write_text(MODULE)
    patched: dict[str, type[nn.Module]] = {}
    exec(MODULE, patched)
    network = patched["ChannelsLast"]()
    train(network, items[:60], classes[:60])
    torch.save(network.state_dict(), root / "shapes.pt")
    onnx.save(channels_last_graph(network), root / "shapes.onnx")
    (root / "shapes.txt").write_text("\n".join(SHAPES))
    options = ("--task", "classify", "--labels", "shapes.txt", "--input", SHAPES_INPUT, "--evaluate-on", "shapes/held-out")
    export("lastnets:ChannelsLast", "--weights", "shapes.pt", "--name", "shapes", "--items", "shapes/train", *options)
    export("shapes.onnx", "--name", "adopted", *options)
    folder = Folder(files[60:], classes[60:], answers(network, items[60:]))
    return {"shapes": folder, "adopted": folder}


def channels_last_graph(network: nn.Module) -> onnx.ModelProto:
    """The same network as an ONNX file, as tools beside torch write it."""
    nodes = [helper.make_node("Transpose", ["images"], ["first"], perm=[0, 3, 1, 2])]
    for name, value, result in (("maps.0", "first", "second"), ("maps.2", "second", "third")):
        nodes.append(helper.make_node("Conv", [value, f"{name}.weight", f"{name}.bias"], [name], strides=[2, 2]))
        nodes.append(helper.make_node("Relu", [name], [result]))
    nodes.append(helper.make_node("ReduceMean", ["third", "axes"], ["means"], keepdims=0))
    nodes.append(helper.make_node("Gemm", ["means", "last.weight", "last.bias"], ["logits"], transB=1))
    weights = {name: value.numpy() for name, value in network.state_dict().items()} | {"axes": np.array([2, 3])}
    graph = helper.make_graph(
        nodes, "shapes",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["batch", 32, 32, 3])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture(scope="module")
def served(folders: tuple[Path, dict[str, Folder]]) -> Iterator[Gateway]:
    with gateway(folders[0], "--engine", "ort") as running:
        yield running


@pytest.mark.parametrize("model", ["digits", "shapes", "adopted"])
def test_every_picture_is_answered_as_by_torch(folders: tuple[Path, dict[str, Folder]], served: Gateway, model: str) -> None:
    repository, pictures = folders[0], folders[1][model]
    labels = ModelRepository(repository).version(model).manifest.labels or ()
    with grpc.insecure_channel(served.address) as channel:
        items = [pb.Item(image=file.read_bytes()) for file in pictures.files]
        answer = served.stub(channel).Classify(pb.ClassifyRequest(model=model, items=items, top_k=len(labels)))
    for item, file, expected in zip(answer.items, pictures.files, pictures.expected, strict=True):
        assert not item.HasField("error"), item.error
        assert item.classes[0].label == labels[expected.argmax()], file
        given = {each.label: each.probability for each in item.classes}
        np.testing.assert_allclose([given[label] for label in labels], expected, atol=2e-6, err_msg=str(file))


@pytest.mark.parametrize("model", ["digits", "shapes", "adopted"])
def test_the_accuracy_in_the_manifest_is_torchs(folders: tuple[Path, dict[str, Folder]], model: str) -> None:
    pictures, manifest = folders[1][model], ModelRepository(folders[0]).version(model).manifest
    assert manifest.evaluation["held_out_items"] == len(pictures.files)
    assert manifest.evaluation["accuracy"] == pytest.approx(pictures.accuracy, abs=1e-9)
    assert pictures.accuracy > 0.7  # the networks have learnt something


def test_clients_and_people_are_told_how_pictures_are_resized(folders: tuple[Path, dict[str, Folder]], served: Gateway) -> None:
    with grpc.insecure_channel(served.address) as channel:
        image = served.stub(channel).GetModel(pb.GetModelRequest(name="shapes")).image
    assert (image.height, image.width, image.channels, list(image.resize)) == (32, 32, 3, [40])
    assert (image.fit, image.filter, image.antialias, list(image.pad)) == ("shorter", "bicubic", True, [0])
    card = (ModelRepository(folders[0]).version("shapes").folder / "card.md").read_text(encoding="utf-8")
    assert (
        "* a picture is turned upright and resized to 40 on its shorter side (bicubic, antialiased); the central 32 x 32"
        in card
    )
    assert "| channel (NHWC) | range | mean | std |" in card
    assert "| blue | -1..1 | 0 | 1 |" in card

"""architectures/catalogue.py and spec_grammar.py.

The named architectures and the grammar: parameters as published, equal logits, clear errors.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from avizor_export.architectures.catalogue import ARCHITECTURES, build
from avizor_export.architectures.lenet import LeNet
from avizor_export.architectures.map_sizes import Shape
from avizor_export.architectures.spec_grammar import build_spec
from avizor_export.architectures.zfnet import ZFNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import ImageInput

ALEXNET = "conv64k11s4p2 pool3s2 conv192k5 pool3s2 conv384 conv256x2 pool3s2 drop fc4096 drop fc4096 fc1000"
VGG16 = "conv64x2 pool conv128x2 pool conv256x3 pool conv512x3 pool conv512x3 pool fc4096 drop fc4096 drop fc1000"
ZFNET = (
    "conv96k7s2p1 pool3s2p1 lrn5a1e-4b0.75k2 conv256k5s2p0 pool3s2p1 lrn5a1e-4b0.75k2 conv384x2 conv256 pool3s2 "
    "fc4096 drop fc4096 drop fc1000"
)
LENET = "conv6k5p0 pool conv16k5p0 pool fc120 fc84 fc10"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_are_those_published(name: str) -> None:
    architecture = ARCHITECTURES[name]
    with torch.device("meta"):
        network = build(name, architecture.classes, architecture.shape)
    assert sum(parameter.numel() for parameter in network.parameters()) == architecture.parameters


@pytest.mark.parametrize(
    ("spec", "shape", "reference"),
    [
        (LENET, (1, 32, 32), LeNet),
        (ALEXNET, (3, 224, 224), lambda: models.alexnet(weights=None)),
        (ZFNET, (3, 224, 224), ZFNet),
        (VGG16, (3, 224, 224), lambda: models.vgg16(weights=None, init_weights=False)),
    ],
    ids=["lenet", "alexnet", "zfnet", "vgg16"],
)
def test_a_spec_with_the_weights_of_the_reference_gives_its_logits(
    spec: str, shape: Shape, reference: Callable[[], nn.Module]
) -> None:
    torch.manual_seed(0)
    published: nn.Module = reference().eval()
    written = build_spec(spec, shape).eval()
    for mine, theirs in zip(written.parameters(), published.parameters(), strict=True):
        assert mine.shape == theirs.shape
        mine.data = theirs.data
    items = torch.rand(1, *shape)
    with torch.inference_mode():
        torch.testing.assert_close(written(items), published(items), rtol=0, atol=0)


@pytest.mark.parametrize(
    "name", ["alexnet", pytest.param("vgg16", marks=pytest.mark.slow), "resnet34", "densenet121", "googlenet"]
)
def test_weights_of_torchvision_give_the_logits_of_torchvision(name: str) -> None:
    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    published = getattr(models, name)(weights=None, num_classes=7, **options).eval()
    network = build(name, 7, (3, 224, 224)).eval()
    network.load_state_dict(published.state_dict())
    items = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(network(items), published(items), rtol=0, atol=0)


@pytest.mark.parametrize("size", [32, 64, 96, 224])
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "lenet"])
def test_any_number_of_classes_and_channels_at_every_size(name: str, size: int) -> None:
    with torch.device("meta"):
        network = build(name, 5, (2, size, size)).eval()
        assert network(torch.zeros(3, 2, size, size)).shape == (3, 5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_smallest_size_is_what_it_says(name: str) -> None:
    size = ARCHITECTURES[name].smallest
    with torch.device("meta"):
        assert build(name, 5, (1, size, size)).eval()(torch.zeros(3, 1, size, size)).shape == (3, 5)
        with pytest.raises(ExportError, match="too small"):
            build(name, 5, (1, size // 2, size // 2))


def test_the_signal_does_not_fade_in_zfnet_without_batch_norm() -> None:
    torch.manual_seed(0)
    network = ZFNet(10, (1, 16, 16)).eval()
    with torch.inference_mode():
        logits = network(torch.randn(8, 1, 16, 16))
    assert float(logits.std(dim=0).mean()) > 0.05  # 0.215; with torch's own weights 0.0001


@pytest.mark.parametrize("name", ["alexnet", "zfnet", "vgg16"])
def test_variants_with_batch_norm(name: str) -> None:
    with torch.device("meta"):
        network = build(name, 5, (1, 32, 32), batch_norm=True).eval()
        assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
        assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 5)


def test_a_spec_trains_exports_and_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("conv8bn pool conv16x2s1 avgpool3s2p1 lrn3 drop0.2 fc32bn drop fc", 3, (1, 16, 20))
    items, labels = torch.rand(32, 1, 16, 20), torch.arange(32) % 3
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(network(items), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    image = ImageInput(height=16, width=20, channels=1)
    export_model(network, ExportRequest("spec", "classify", image, labels=["a", "b", "c"]), tmp_path)
    with EmbeddedEngine(tmp_path) as engine:
        pixels = torch.randint(0, 256, (4, 16, 20, 1), dtype=torch.uint8).numpy()
        assert engine.infer(InferRequest("spec", {"image": pixels}, ["probabilities"]))["probabilities"].shape == (4, 3)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("conv32 pool", "does not end with fc"),
        ("conv32 dense10", "'dense10' is not a word of the grammar"),
        ("conv fc10", "write a whole number of at least 1 after 'conv'"),
        ("conv0 fc10", "at least 1"),
        ("conv8z3 fc10", "conv has no option 'z'"),
        ("conv8k2.5 fc10", "whole number"),
        ("fc32 conv8 fc10", "'conv8' comes after 'fc32'"),
        ("conv8 drop1.5 fc10", "at least 0 and less than 1"),
        ("conv8x2x3 fc10", "gives 'x' twice"),
        ("conv8 gap3 fc10", "gap takes no number"),
        ("conv8 fc10bn", "without batch norm; write fc10"),
        ("conv8 pool2p2 fc10", "more than half of the pool's size"),
        ("conv8 fc9", "9 logits for 10 classes"),
        ("pool pool pool pool pool pool fc10", "is too small"),
        ("", "does not end with fc"),
        ("conv8 shuffle2", "'shuffle2' ends a network that returns a reconstruction; build_autoencoder builds it"),
        ("conv8s2 latent4", "'latent4' ends a network that returns a reconstruction; build_autoencoder builds it"),
    ],
)
def test_a_wrong_spec_is_refused_with_the_word_that_is_wrong(spec: str, says: str) -> None:
    with pytest.raises(ExportError, match=says):
        build(spec, 10, (1, 32, 32))


def test_a_name_of_no_architecture_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ExportError, match=r"'lenet5' is not a word .*; the architectures are lenet, alexnet, .*, densenet121$"):
        build("lenet5", 10, (1, 32, 32))
    with pytest.raises(ExportError) as refused:
        build("conv16 dense10", 10, (1, 32, 32))
    assert "architectures" not in str(refused.value)


@pytest.mark.parametrize(("name", "shape"), [("resnet34", (3, 16, 16)), ("lenet", (1, 8, 8))])
def test_an_input_that_is_too_small_is_refused(name: str, shape: Shape) -> None:
    with pytest.raises(ExportError, match="too small"):
        build(name, 10, shape)


def test_batch_norm_where_there_is_no_such_variant() -> None:
    with pytest.raises(ExportError, match="no variant with batch norm"):
        build("resnet34", 10, (3, 32, 32), batch_norm=True)
    with pytest.raises(ExportError, match="write bn after its words"):
        build("conv8 fc10", 10, (3, 32, 32), batch_norm=True)

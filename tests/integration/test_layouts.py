"""Weights that fit several networks of one name: Avizor publishes the network that they were trained in, or nothing.

A test that does not publish checks the network that `load` returns, which is the one that the command exports.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torchvision import models as torchvision_models

from avizor_export.architectures.catalogue import build
from avizor_export.cli import export
from avizor_export.front_ends.build import build_front_end
from avizor_export.networks.input_description import parse_input
from avizor_export.networks.open_network import GivenWeights, LoadedNetwork, open_network
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelRepository

MEAN, STD = "0.485/0.456/0.406", "0.229/0.224/0.225"
CLASSES = 5


def command(folder: Path, design: str, size: int, weights: object, *settings: str, channels: int = 3) -> list[str]:
    (folder / "labels.txt").write_text("".join(f"{number}\n" for number in range(CLASSES)))
    image = f"image:height={size},width={size},channels={channels}"
    image += f",mean={MEAN},std={STD}" if channels == 3 else ""
    given: list[object] = [design, "--name", "made", "--models", folder / "models", "--task", "classify", "--input", image]
    given += ["--labels", folder / "labels.txt", "--weights", weights, "--max-batch-size", 2]
    return [*map(str, given), *(part for setting in settings for part in ("--set", setting))]


def run(folder: Path, design: str, size: int, weights: object, *settings: str, channels: int = 3) -> Manifest:
    asked = command(folder, design, size, weights, *settings, channels=channels)
    result = CliRunner().invoke(export, asked, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return ModelRepository(folder / "models").version("made").manifest


def refused(folder: Path, design: str, size: int, weights: object, *settings: str) -> str:
    result = CliRunner().invoke(export, command(folder, design, size, weights, *settings))
    assert result.exit_code != 0
    assert not (folder / "models" / "made").exists()
    return str(result.exception)


def lively(network: nn.Module, channels: int = 3) -> nn.Module:
    """With statistics of what its layers really give, as of a trained network, so that all of them matter."""
    torch.manual_seed(1)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            network.train()(torch.randn(16, channels, 64, 64))
    if isinstance(network, torchvision_models.GoogLeNet):  # else its activations are so large that float32 shows
        for norm in norms:
            cast(Tensor, norm.running_var).mul_(2)
    return network.eval()


def saved(folder: Path, network: nn.Module) -> Path:
    torch.save(network.state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


def pixels(size: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, size, size, channels), dtype=np.uint8)


def expected(network: nn.Module, size: int, channels: int = 3) -> np.ndarray:
    """The module's own softmax of the pixels."""
    mean, std = (torch.tensor([float(each) for each in text.split("/")]) for text in (MEAN, STD))
    items = torch.from_numpy(pixels(size, channels)) / 255
    items = (items - mean) / std if channels == 3 else items
    with torch.inference_mode():
        given: Tensor = network(items.permute(0, 3, 1, 2))
        return torch.softmax(given, 1).numpy()


def published(folder: Path, size: int) -> np.ndarray:
    with EmbeddedEngine(folder / "models") as engine:
        return engine.infer(InferRequest("made", {"image": pixels(size)}, ["probabilities"]))["probabilities"]


def loaded(design: str, size: int, weights: object, channels: int = 3, **settings: bool | str) -> LoadedNetwork:
    spec = parse_input(f"image:height={size},width={size},channels={channels}")
    labels = [str(number) for number in range(CLASSES)]
    found = open_network(design, settings, GivenWeights(str(weights)), spec, labels, "classify")
    found.network.eval()
    return found


def torchvisions(name: str, classes: int = CLASSES, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    more = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    return lively(getattr(torchvision_models, name)(weights=None, num_classes=classes, **{**more, **options}))


def ours(name: str, size: int) -> nn.Module:
    torch.manual_seed(0)
    return lively(build(name, CLASSES, (3, size, size)))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layout"), [("resnet34", "adapted"), ("densenet121", "torchvision")])
def test_weights_that_fit_both_layouts_are_published_in_the_one_that_is_said(tmp_path: Path, name: str, layout: str) -> None:
    modules = {"torchvision": torchvisions(name), "adapted": ours(name, 64)}
    weights = saved(tmp_path, modules[layout])
    said = refused(tmp_path, name, 64, weights)
    assert f"{weights} fits several networks of the name {name!r} that return different results" in said
    assert "--set layout=torchvision (" in said
    assert "--set layout=adapted (" in said
    manifest = run(tmp_path, name, 64, weights, f"layout={layout}")
    wanted = expected(modules[layout], 64)
    np.testing.assert_allclose(published(tmp_path, 64), wanted, atol=1e-4)
    assert manifest.provenance.arguments == {"layout": layout}
    card = (ModelRepository(tmp_path / "models").version("made").folder / "card.md").read_text(encoding="utf-8")
    assert f'from `{name}` with layout="{layout}"' in card
    (other,) = (each for each in modules if each != layout)
    modules[other].load_state_dict(modules[layout].state_dict())
    assert np.abs(expected(modules[other], 64) - wanted).max() > 1e-3  # what would have been published in silence


@pytest.mark.slow
@pytest.mark.parametrize(("size", "transforms"), [(64, True), (64, False), (224, True), (224, False)])
def test_a_googlenet_is_published_as_it_was_trained(tmp_path: Path, size: int, transforms: bool) -> None:
    module = torchvisions("googlenet", aux_logits=True, transform_input=transforms)  # as it is fine-tuned
    weights = saved(tmp_path, module)
    layout = ["layout=torchvision"] if size == 64 else []
    said = refused(tmp_path, "googlenet", size, weights, *layout)
    assert "--set transform_input=true (trained in torchvision's module created with weights=" in said
    assert "--set transform_input=false (" in said
    assert "layout" not in said
    manifest = run(tmp_path, "googlenet", size, weights, *layout, f"transform_input={str(transforms).lower()}")
    np.testing.assert_allclose(published(tmp_path, size), expected(module, size), atol=1e-4)
    assert manifest.provenance.arguments == {"layout": "torchvision", "transform_input": transforms}
    wanted = expected(module, size)
    cast(Any, module).transform_input = not transforms
    assert np.abs(expected(module, size) - wanted).max() > 1e-3  # what would have been published in silence


def test_all_that_a_file_does_not_tell_is_asked_for_at_once(tmp_path: Path) -> None:
    module = ours("googlenet", 64)
    said = refused(tmp_path, "googlenet", 64, saved(tmp_path, module))
    assert "--set layout=torchvision (" in said
    assert ", and with --set transform_input=true (" in said
    found = loaded("googlenet", 64, tmp_path / "weights.pt", layout="adapted", transform_input=False)
    np.testing.assert_allclose(expected(found.network, 64), expected(module, 64), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("name", ["alexnet", "vgg16", "googlenet", "resnet34", "densenet121"])
def test_the_layout_of_torchvision_gives_what_its_module_gives_at_every_size(tmp_path: Path, name: str, size: int) -> None:
    module = torchvisions(name)
    more: dict[str, bool] = {"transform_input": False} if name == "googlenet" else {}
    found = loaded(name, size, saved(tmp_path, module), layout="torchvision", **more)
    np.testing.assert_allclose(expected(found.network, size), expected(module, size), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "layout"), [(28, "torchvision"), (40, "torchvision"), (40, "adapted"), (96, "torchvision"), (224, "torchvision")]
)
def test_what_the_file_tells_is_not_asked_for(tmp_path: Path, size: int, layout: str) -> None:
    module = torchvisions("resnet34") if layout == "torchvision" else ours("resnet34", size)
    found = loaded("resnet34", size, saved(tmp_path, module))
    np.testing.assert_allclose(expected(found.network, size), expected(module, size), atol=1e-6)
    assert found.arguments == {"layout": layout}


def test_a_layout_that_the_file_does_not_have_is_refused_with_the_one_that_it_has(tmp_path: Path) -> None:
    weights = saved(tmp_path, torchvisions("resnet34"))
    said = refused(tmp_path, "resnet34", 40, weights, "layout=adapted")
    assert said.endswith("does not fit 'resnet34' with --set layout=adapted; it fits with --set layout=torchvision")
    said = refused(tmp_path, "resnet34", 64, weights, "layout=small")
    assert "--set layout is 'small'; write layout=torchvision or layout=adapted" in said


@pytest.mark.slow
def test_an_adaptive_pool_is_published_where_the_map_is_smaller(tmp_path: Path) -> None:
    module = torchvisions("alexnet")
    run(tmp_path, "alexnet", 96, saved(tmp_path, module))
    np.testing.assert_allclose(published(tmp_path, 96), expected(module, 96), atol=1e-5)


def test_a_map_as_large_as_the_pools_but_of_another_form_is_no_reason_to_leave_the_pool_out(tmp_path: Path) -> None:
    """36 numbers for each channel are 6 x 6 of the pool, and here 4 x 9 of the map."""
    shape = (3, 160, 320)
    module = torchvisions("alexnet")
    adapted = build("alexnet", CLASSES, shape).eval()
    adapted.load_state_dict(module.state_dict())
    items = torch.rand(1, *shape)
    with torch.inference_mode():
        assert float((adapted(items) - module(items)).abs().max()) > 1e-4
    asked = command(tmp_path, "alexnet", 160, saved(tmp_path, module))
    result = CliRunner().invoke(export, [each.replace("width=160", "width=320") for each in asked])
    assert "--set layout=torchvision" in str(result.exception)


def of_torchvision(folder: Path, name: str, module: nn.Module, scaling: str, **settings: bool | str) -> LoadedNetwork:
    torch.save(module.state_dict(), folder / "published.pth")
    given = GivenWeights(f"torchvision:IMAGENET1K_V1={folder / 'published.pth'}")
    spec = parse_input(f"image:height=64,width=64,channels=3,{scaling}")
    found = open_network(name, settings, given, spec, None, "classify")
    found.network.eval()
    return found


def test_weights_of_torchvision_are_taken_in_its_layout_at_every_size(tmp_path: Path) -> None:
    module = torchvisions("resnet34", classes=1000)
    found = of_torchvision(tmp_path, "resnet34", module, f"mean={MEAN},std={STD}")
    np.testing.assert_allclose(expected(found.network, 64), expected(module, 64), atol=1e-6)
    assert found.arguments == {"layout": "torchvision"}
    with pytest.raises(ExportError, match="were trained in torchvision's layout; leave out --set layout"):
        of_torchvision(tmp_path, "resnet34", module, f"mean={MEAN},std={STD}", layout="adapted")


def test_other_scaling_than_torchvisions_weights_were_trained_with_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(torchvisions("resnet34", classes=1000).state_dict(), tmp_path / "published.pth")
    given = GivenWeights(f"torchvision:IMAGENET1K_V1={tmp_path / 'published.pth'}")
    open_network("resnet34", {}, given, parse_input("image:height=64,width=64,channels=3"), None, "classify")
    (said,) = [record.getMessage() for record in caplog.records if record.name == "avizor_export.networks.own_inputs"]
    assert said == (
        f"the transforms of torchvision's weights: height=224,width=224,resize=256,fit=shorter,mean={MEAN},std={STD}; --input "
        "differs in these: leave it out to take them"
    )


@pytest.mark.parametrize(("scaling", "transforms"), [(f"mean={MEAN},std={STD}", True), ("mean=0.5,std=0.5", False)])
def test_googlenets_published_weights_take_the_input_that_is_described(tmp_path: Path, scaling: str, transforms: bool) -> None:
    module = torchvisions("googlenet", classes=1000, aux_logits=True, transform_input=True)
    found = of_torchvision(tmp_path, "googlenet", module, scaling)
    assert found.arguments == {"layout": "torchvision", "transform_input": transforms}
    items = torch.from_numpy(pixels(64))
    with torch.inference_mode():
        given = torch.softmax(found.network(build_front_end(found.input)(items)), 1).numpy()
    np.testing.assert_allclose(given, expected(module, 64), atol=1e-4)


def test_an_input_that_does_not_tell_how_a_googlenet_takes_it_is_refused(tmp_path: Path) -> None:
    module = torchvisions("googlenet", classes=1000)
    with pytest.raises(ExportError, match=r"--input has neither of the two. Write it with mean=0.5,std=0.5"):
        of_torchvision(tmp_path, "googlenet", module, "mean=0,std=1")


def test_a_lightning_checkpoint_of_torchvisions_module_is_loaded(tmp_path: Path) -> None:
    module = torchvisions("resnet34")
    content = {"state_dict": {f"model.{name}": value for name, value in module.state_dict().items()}, "epoch": 3}
    torch.save(content, tmp_path / "last.ckpt")
    found = loaded("resnet34", 64, tmp_path / "last.ckpt", layout="torchvision")
    np.testing.assert_allclose(expected(found.network, 64), expected(module, 64), atol=1e-6)
    assert found.weights_key == "state_dict.model"


def test_one_channel_cannot_be_transformed_and_is_not_asked_about(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = lively(build("googlenet", CLASSES, (1, 96, 96)), channels=1)
    found = loaded("googlenet", 96, saved(tmp_path, module), channels=1)
    np.testing.assert_allclose(expected(found.network, 96, 1), expected(module, 96, 1), atol=1e-6)

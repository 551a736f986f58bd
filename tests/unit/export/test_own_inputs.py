"""networks/own_inputs.py: what torchvision's weights and timm's modules say of their images is taken for --input."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import nn
from torchvision import models, transforms

from avizor_export.front_ends.build import build_front_end
from avizor_export.networks.input_description import parse_input
from avizor_export.networks.open_network import GivenWeights, LoadedNetwork, open_network
from avizor_export.networks.own_inputs import timm_input, transforms_input
from avizor_export.networks.torchvision_weights import published_weights
from avizor_inference.errors import ExportError
from avizor_inference.items.images import decode_image
from avizor_inference.items.input_spec import ImageInput
from avizor_inference.items.kinds.short_form import pairs_of

# One of each mode and proportion of timm's configs; names of pretrained configs.
CONFIGS: dict[str, dict[str, Any]] = {
    "center": {"input_size": (3, 32, 32), "crop_pct": 0.95, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "center, padded": {"input_size": (3, 32, 32), "crop_pct": 1.15, "interpolation": "bilinear"},
    "center, oblong": {"input_size": (3, 40, 30), "crop_pct": 0.9},
    "squash": {"input_size": (3, 32, 32), "crop_pct": 0.9, "crop_mode": "squash", "mean": (0.5, 0.5, 0.5)},
    "border": {"input_size": (3, 32, 32), "crop_pct": 1.0, "crop_mode": "border"},
    "border, cut": {"input_size": (3, 32, 24), "crop_pct": 0.8, "crop_mode": "border", "mean": (0.1, 0.5, 0.9)},
    "defaults": {"input_size": (3, 32, 32)},
}
SIZES = [(37, 50), (50, 33), (10, 9), (9, 57), (32, 32)]
PATCHES = """
import timm
def net(**options):
    return timm.create_model("test_vit", num_classes=4, **options)
"""


def picture(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8))


def pixels(image: Image.Image, spec: ImageInput) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return decode_image(buffer.getvalue(), spec)


def with_config(config: object) -> nn.Module:
    network = nn.Identity()
    network.pretrained_cfg = config  # type: ignore[assignment]
    return network


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_timm_config_does_what_its_own_transform_does_bit_for_bit(config: dict[str, Any]) -> None:
    network = with_config(config)
    spec, transform = timm_input(network), create_transform(**resolve_model_data_config(network))
    assert spec is not None
    assert parse_input(f"image:{pairs_of(spec)}") == spec
    for size in SIZES:
        image = picture(*size)
        given = pixels(image, spec)
        *resizing, _to_tensor, _normalize = transform.transforms
        np.testing.assert_array_equal(given, np.asarray(transforms.Compose(resizing)(image)), str(size))
        features = build_front_end(spec)(torch.tensor(given[None]))[0]
        torch.testing.assert_close(features, transform(image), atol=2e-6, rtol=0)


def test_the_size_of_tests_is_told_and_that_of_training_is_taken() -> None:
    network = timm.create_model("resnet18")
    own, tested = timm_input(network), timm_input(network, for_tests=True)
    assert own is not None
    assert tested is not None
    assert (own.height, own.resize, own.filter) == (224, (235,), "bicubic")
    assert (tested.height, tested.resize) == (288, (288,))


@pytest.mark.parametrize("config", [None, {}, {"input_size": None}, {"input_size": (224, 224)}, "timm"])
def test_a_module_without_such_a_config_has_no_input_of_its_own(config: object) -> None:
    assert timm_input(with_config(config)) is None


def test_a_config_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(ExportError, match=r"pretrained_cfg cannot be followed .*filter.*; say with --input what one image is"):
        timm_input(with_config({"input_size": (3, 32, 32), "interpolation": "random"}))


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "timmnets.py").write_text(PATCHES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return "timmnets:net"


def opened(factory: str, text: str | None) -> LoadedNetwork:
    spec = parse_input(text) if text else None
    return open_network(factory, {}, GivenWeights(in_factory=True), spec, list("abcd"), "classify")


def test_a_factory_that_returns_a_module_of_timm_needs_no_input(factory: str, caplog: pytest.LogCaptureFixture) -> None:
    spec = opened(factory, None).input
    assert isinstance(spec, ImageInput)
    assert pairs_of(spec) == (
        "height=160,width=160,channels=3,resize=168,fit=shorter,filter=bicubic,mean=0.5/0.5/0.5,std=0.5/0.5/0.5"
    )
    assert opened(factory, f"image:{pairs_of(spec)}").input == spec
    assert opened(factory, "image:crop=160,channels=3,resize=168,filter=bicubic,range=-1..1").input != spec
    assert caplog.messages == []  # both do the same


def test_a_different_input_wins_and_is_warned_of(factory: str, caplog: pytest.LogCaptureFixture) -> None:
    given = "image:height=160,width=160,channels=3,order=bgr,mean=0.5,std=0.5"
    with caplog.at_level(logging.WARNING):
        assert opened(factory, given).input == parse_input(given)
    (said,) = caplog.messages
    own = "resize=168,fit=shorter,filter=bicubic,order=rgb"
    assert said == f"the network's pretrained_cfg: {own}; --input differs in these: leave it out to take them"


def test_any_other_factory_needs_an_input(factory: str) -> None:
    with pytest.raises(ExportError, match="say with --input what one raw item is"):
        opened("torch.nn:Identity", None)


@pytest.mark.parametrize("weights", [models.ResNet34_Weights.IMAGENET1K_V1, models.Swin_T_Weights.IMAGENET1K_V1])
def test_the_transforms_of_torchvisions_weights_are_followed_bit_for_bit(weights: Any) -> None:
    transform = weights.transforms()
    spec = transforms_input(transform)
    for size in ((375, 500), (333, 250), (100, 90)):
        given = pixels(picture(*size), spec)
        features = build_front_end(spec)(torch.tensor(given[None]))[0]
        torch.testing.assert_close(features, transform(picture(*size)), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("model", "weights", "settings"),
    [
        ("shufflenet_v2_x0_5", "IMAGENET1K_V1", {}),
        ("googlenet", "IMAGENET1K_V1", {"transform_input": True, "aux_logits": True, "init_weights": False}),
    ],
)
def test_any_classifier_of_torchvision_is_built_with_its_weights(
    tmp_path: Path, model: str, weights: str, settings: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    module = models.get_model(model, weights=None, **settings).eval()
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    given = GivenWeights(f"torchvision:{weights}={tmp_path / 'weights.pth'}")
    found = open_network(f"torchvision.models:{model}", {}, given, None, None, "classify")
    transform = models.get_model_weights(model)[weights].transforms()
    assert found.input == transforms_input(transform)
    assert (found.labels or ())[0] == "tench"
    items = transform(picture(300, 400))[None]
    with torch.inference_mode():
        torch.testing.assert_close(found.network.eval()(items), module(items))
    with pytest.raises(ExportError, match="leave out --set num_classes"):
        open_network(f"torchvision.models:{model}", {"num_classes": 3}, given, None, None, "classify")


def test_a_module_that_torchvision_has_no_weights_for() -> None:
    with pytest.raises(ExportError, match="torchvision has no classifier 'resnet1'; "):
        open_network("torchvision.models:resnet1", {}, GivenWeights("torchvision:DEFAULT"), None, None, "classify")
    with pytest.raises(ExportError, match="has no weights 'V9' for resnet50; there are IMAGENET1K_V1, IMAGENET1K_V2"):
        open_network("torchvision.models:resnet50", {}, GivenWeights("torchvision:V9"), None, None, "classify")


def test_weights_of_the_features_alone_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "vgg.pth")
    with pytest.raises(ExportError, match="IMAGENET1K_FEATURES have no classes"):
        published_weights("vgg16", f"torchvision:IMAGENET1K_FEATURES={tmp_path / 'vgg.pth'}")

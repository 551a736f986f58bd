"""Class activation maps against torch's autograd, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.grad_cam import torch_grad_cam
from support.sounds import SOUND, tone
from torch import nn

from avizor_export.architectures.catalogue import build
from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.arrays import Items
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.explain.cam import class_maps
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import ImageInput, InputSpec, SignalInput
from avizor_inference.repository.models import ModelRepository, ModelVersion

LABELS = ["one", "two", "three"]


def image(channels: int, size: int) -> ImageInput:
    return ImageInput(height=size, width=size, channels=channels)


def trained(network: nn.Module) -> nn.Module:
    """Give the batch norms of a fresh network statistics as training does, so that nothing cancels out."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def some_row(spec: InputSpec, seed: int = 0) -> Items:
    if spec is SOUND:
        return tone(4096 / 8000, seed=seed)
    shape, rng = spec.tensor().item_shape, np.random.default_rng(seed)
    if isinstance(spec, ImageInput):
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.standard_normal(shape).astype(np.float32)


def published(network: nn.Module, spec: InputSpec, folder: Path, **request: object) -> ModelVersion:
    settings = {"labels": LABELS, **request}
    export_model(network, ExportRequest("m", "classify", spec, **settings), folder)  # type: ignore[arg-type]
    return ModelRepository(folder).version("m")


def maps_of(version: ModelVersion, rows: list[Items], target: str | int | None = None) -> list[HeatMap]:
    with EmbeddedEngine(ModelRepository(version.folder.parent.parent)) as engine:
        return class_maps(engine, version, [RawRow("item", place, row) for place, row in enumerate(rows)], target)


def check_against_torch(network: nn.Module, spec: InputSpec, version: ModelVersion) -> HeatMap:
    """Compare the maps of all classes with torch's Grad-CAM, which has the mean of gradients where ours has their sum."""
    row = some_row(spec)
    for place, label in enumerate(version.manifest.labels or ()):
        (found,) = maps_of(version, [row], label)
        oracle = torch_grad_cam(network, spec, row, place)
        assert found.target == label
        assert np.abs(found.values / found.values.size - oracle).max() <= 1e-4 * np.abs(oracle).max()
    return found


def explained(found: HeatMap) -> float:
    """Return the mean of the map and the bias of its class."""
    return float(found.values.mean() + found.arrays["bias"][found.arrays["logits"] == np.float32(found.target_value)][0])


def test_a_map_of_lenet_is_that_of_torchs_grad_cam(models: Path) -> None:
    torch.manual_seed(0)  # as export_small_models does
    found = check_against_torch(LeNet(), image(1, 32), ModelRepository(models).version("digits"))
    assert explained(found) != pytest.approx(found.target_value, abs=1e-3)  # its head does not average


def test_a_map_of_sound_is_that_of_torchs_grad_cam_and_its_mean_with_the_bias_is_the_logit(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = trained(build("conv4bn pool conv8bn gap drop0.3 fc", 3, (1, 16, 17)))
    version = published(network, SOUND, tmp_path / "models")
    found = check_against_torch(network, SOUND, version)
    assert explained(found) == pytest.approx(found.target_value, abs=1e-4)


def test_a_map_of_a_signal_has_a_place_for_each_stretch_of_time(tmp_path: Path) -> None:
    torch.manual_seed(1)
    spec = SignalInput(channels=2, window_samples=64, hop_samples=64, sample_rate=16.0)
    network = trained(build("conv4s2 conv8s2 gap fc", 3, (2, 64)))
    found = check_against_torch(network, spec, published(network, spec, tmp_path / "models"))
    assert found.values.shape == (1, 16)
    assert (found.x.unit, found.x.edges[0], found.x.edges[-1]) == ("seconds", 0, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "is_pooled"),
    [
        ("conv4bn pool conv8bn gap fc", 16, True),
        ("conv4 pool conv6s2 fc12 fc", 24, False),
        ("alexnet", 64, False),
        ("zfnet", 32, False),
        ("vgg16", 32, False),
        ("googlenet", 64, True),
        ("resnet34", 64, True),
        ("densenet121", 64, True),
    ],
)
def test_a_map_of_an_architecture_is_that_of_torchs_grad_cam(name: str, size: int, is_pooled: bool, tmp_path: Path) -> None:
    torch.manual_seed(1)
    spec = image(3, size)
    network = trained(build(name, 3, (3, size, size)))
    found = check_against_torch(network, spec, published(network, spec, tmp_path / "models"))
    if is_pooled:  # the mean of the map and the bias are the logit
        assert abs(explained(found) - found.target_value) <= 1e-4 * np.abs(found.values).max()

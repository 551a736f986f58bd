"""`avizor describe`: figures that are known from the literature or by hand, and the rules of thumb."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from avizor_export.architectures.catalogue import ARCHITECTURES
from avizor_export.architectures.sizes import Shape
from avizor_export.description.describe import describe, layers_of_design
from avizor_export.description.design_rules import warnings_for


@pytest.mark.parametrize(
    ("name", "giga_multiply_adds"), [("alexnet", 0.714), ("vgg16", 15.470), ("resnet34", 3.664), ("googlenet", 1.498)]
)
def test_multiply_adds_are_those_published(name: str, giga_multiply_adds: float) -> None:
    architecture = ARCHITECTURES[name]
    layers, total = layers_of_design(name, architecture.classes, architecture.shape)
    assert sum(layer.multiply_adds for layer in layers) / 1e9 == pytest.approx(giga_multiply_adds, abs=1e-3)
    assert sum(layer.parameters for layer in layers) == total == architecture.parameters


def test_three_small_kernels_against_a_large_one() -> None:
    channels = 16
    small, _ = layers_of_design("conv16x3bn gap fc10", 10, (channels, 32, 32))
    large, _ = layers_of_design("conv16k7bn gap fc10", 10, (channels, 32, 32))
    small_convolutions = [layer for layer in small if layer.kind.startswith("conv")]
    (large_convolution,) = [layer for layer in large if layer.kind.startswith("conv")]
    assert small_convolutions[-1].field == large_convolution.field == (7, 7)
    assert sum(layer.parameters for layer in small_convolutions) == 27 * channels**2
    assert large_convolution.parameters == 49 * channels**2


def test_receptive_fields_grow_with_kernels_and_strides() -> None:
    layers, _ = layers_of_design("conv8k5s2 pool3s2 conv8 fc10", 10, (1, 64, 64))
    # 5; then 2 more steps of 2; then 2 more of 4; a linear layer sees everything.
    assert [layer.field for layer in layers] == [(5, 5), (9, 9), (17, 17), None]


@pytest.mark.parametrize(
    ("spec", "shape", "says"),
    [
        ("conv8x4 pool fc10", (1, 32, 32), "n = 4 convolutions"),
        ("conv8 fc10", (1, 32, 32), "nothing pools or strides"),
        ("conv8p0 pool fc10", (1, 32, 32), "padding shrinks the map from 32x32 to 30x30"),
        ("conv8 pool conv8 pool fc10", (1, 30, 30), "a map of 15x15 cannot be divided by its stride"),
        ("conv8 pool conv8k7 pool fc10", (1, 32, 32), "a kernel of 7x7 past the first layer"),
    ],
)
def test_a_design_that_breaks_a_rule_is_warned_of(spec: str, shape: Shape, says: str) -> None:
    (warning,) = warnings_for(layers_of_design(spec, 10, shape)[0])
    assert says in warning


def test_a_design_by_the_rules_is_not() -> None:
    assert warnings_for(layers_of_design("conv32k7 pool conv64x3 pool fc256 fc10", 10, (3, 32, 32))[0]) == []


def test_residual_networks_may_be_deep() -> None:
    warnings = warnings_for(layers_of_design("resnet34", 1000, (3, 224, 224))[0])
    assert not [warning for warning in warnings if "n = " in warning]


def test_a_published_model_is_described_without_its_front_end(models: Path) -> None:
    result = CliRunner().invoke(describe, ["kinds", "--models", str(models)], catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].split()[:3] == ["layer", "kind", "output"]
    assert lines[1].split()[0] == "0"
    assert "4x16x17" in lines[1]
    assert "3x3" in lines[1]


def test_what_is_nothing_is_said_to_be_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(describe, ["resnet99", "--models", str(tmp_path / "none")])
    assert "is no architecture" in str(result.exception)

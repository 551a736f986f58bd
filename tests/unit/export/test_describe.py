"""description/: `avizor describe`: figures that are known from the literature or by hand, and the rules of thumb."""

import re
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from avizor_export.architectures.catalogue import ARCHITECTURES
from avizor_export.architectures.grammar_text import GRAMMAR
from avizor_export.architectures.lenet import LeNet
from avizor_export.architectures.map_sizes import Shape
from avizor_export.description.cli import describe
from avizor_export.description.design_rules import warnings_for
from avizor_export.description.graph_layers import layers_of, multiply_adds_of
from avizor_export.description.targets import layers_of_design, layers_of_network
from avizor_export.exporter import export_model
from avizor_export.graph.to_onnx import to_onnx
from avizor_export.graph.wrap import wrap
from avizor_export.precision.subgraph import extract_subgraph
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import AudioInput, TensorInput
from avizor_inference.items.kinds.sound_front_ends import LogMelFrontEnd


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "giga_multiply_adds"), [("alexnet", 0.714), ("vgg16", 15.470), ("resnet34", 3.664), ("googlenet", 1.498)]
)
def test_multiply_adds_are_those_published(name: str, giga_multiply_adds: float) -> None:
    architecture = ARCHITECTURES[name]
    layers, total = layers_of_design(name, architecture.classes, architecture.shape)
    assert sum(layer.multiply_adds or 0 for layer in layers) / 1e9 == pytest.approx(giga_multiply_adds, abs=1e-3)
    assert sum(layer.parameters for layer in layers) == total == architecture.parameters


def test_multiply_adds_of_a_graph_are_those_of_lenet_by_hand() -> None:
    spec = TensorInput(name="image", item_shape=(1, 32, 32))
    convolutions, linear = 6 * 25 * 28**2 + 16 * 6 * 25 * 10**2, 400 * 120 + 120 * 84 + 84 * 10
    assert multiply_adds_of(exported(LeNet(), spec)) == convolutions + linear


def test_multiply_adds_of_a_log_mel_are_more_than_those_of_its_filters() -> None:
    front_end = LogMelFrontEnd(n_fft=256, hop_length=80, n_mels=32, mel_scale="htk")
    sound = AudioInput(sample_rate=8000, window_samples=8000, hop_samples=8000, front_end=front_end)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    frames, bins, mels = 101, 129, 32
    assert (multiply_adds_of(exported(network, sound)) or 0) > frames * bins * mels + mels * frames * 2 + 2 * 3


@pytest.mark.parametrize("factors", ["(row, weight)", "(row, row)"])
def test_multiply_adds_of_a_graph_are_not_known_where_one_node_does_not_show_them(factors: str) -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 20]> one (float[N, 2] row) => (float[N, M] mixed)
    <float[2, 2] weight = {{1, 2, 3, 4}}> {{ mixed = Einsum <equation = "nc,mc->nm"> {factors} }}"""
    assert multiply_adds_of(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))) is None


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
        ("conv8 fc10", (1, 32, 32), "conv8 (layer 0): nothing pools or strides: the field grows"),
        ("conv8 gap fc10", (1, 32, 32), "has seen no more than 3x3 of 32x32 pixels"),
        ("conv8p0 pool fc10", (1, 32, 32), "padding shrinks the map from 32x32 to 30x30"),
        ("conv8k2 pool3 fc10", (1, 32, 32), "its padding enlarges the map from 32x32 to 33x33"),
        ("conv8 pool conv8 pool fc10", (1, 30, 30), "a map of 15x15 cannot be divided by its stride: 1 row and 1 column"),
        ("conv8s2 conv8s2 fc10", (1, 30, 30), "conv8s2 (layer 2): a map of 15x15 cannot be divided by its stride: its last"),
        ("conv8 pool2ceil fc10", (1, 31, 32), "height and width are multiples of 2"),
        (
            "conv8 pool3s2 fc10",
            (1, 32, 32),
            "do not fit a map of 32x32: 1 row and 1 column at the edge are never seen; pad it",
        ),
        ("conv8k1s2 fc10", (1, 32, 32), "smaller than its stride"),
        (
            "conv8 pool conv8k7 pool fc10",
            (1, 32, 32),
            "a kernel of 7x7 past the first layer: 3 of 3x3 see as much, with 27 C^2",
        ),
        ("conv8 pool conv8k11 pool fc10", (1, 32, 32), "5 of 3x3 see as much, with 45 C^2 weights instead of 121 C^2"),
        ("fc8 latent30", (30,), "latent30 (layer encoder.latent): a latent space of 30 numbers can store the 30 of its input"),
    ],
)
def test_a_design_that_breaks_a_rule_is_warned_of(spec: str, shape: tuple[int, ...], says: str) -> None:
    (warning,) = warnings_for(layers_of_design(spec, 10, shape)[0])
    assert says in warning


def test_a_design_by_the_rules_is_not() -> None:
    assert warnings_for(layers_of_design("conv32k7 pool conv64x3 pool fc256 fc10", 10, (3, 32, 32))[0]) == []


@pytest.mark.parametrize(
    ("name", "shape"), [pytest.param("resnet34", (3, 64, 64), marks=pytest.mark.slow), ("alexnet", (3, 224, 224))]
)
def test_residual_networks_may_be_deep_and_published_sizes_fit(name: str, shape: Shape) -> None:
    warnings = warnings_for(layers_of_design(name, 1000, shape)[0])
    assert not [warning for warning in warnings if "n = " in warning or "never seen" in warning]


def test_local_response_norm_of_torch_is_none_of_the_pools() -> None:
    layers, _ = layers_of_design("zfnet", 1000, (3, 224, 224))
    norms = [layer for layer in layers if layer.kind == "local response norm 5"]
    assert [layer.output for layer in norms] == [(96, 55, 55), (256, 13, 13)]
    pools = [layer for layer in layers if "pool" in layer.kind]
    assert [layer.field for layer in pools] == [(11, 11), (43, 43), (171, 171)]


def test_a_kernel_of_two_sides_is_compared_with_what_sees_as_much() -> None:
    (warning,) = warnings_for(
        layers_of_network(nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(2, 2, (7, 3), padding=(3, 1))), (1, 8, 8))
    )
    assert "1 of 3x3 and 2 of 3x1 see as much, with 15 C^2 weights instead of 21 C^2" in warning


def test_a_map_that_shrinks_along_one_side_alone_is_seen_to() -> None:
    (warning,) = warnings_for(
        layers_of_network(nn.Sequential(nn.Conv2d(1, 2, 3, padding=(2, 0)), nn.Conv2d(2, 2, 2, 2)), (1, 8, 8))
    )
    assert "shrinks the map from 8x8 to 10x6" in warning


class Sequence(nn.Module):
    """What runs over a sequence, numbers that no layer has, and one layer that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 12)
        self.again = nn.Linear(12, 12)
        self.recurrent = nn.LSTM(12, 6, batch_first=True, bidirectional=True)
        self.norm = nn.LayerNorm(12)
        self.groups = nn.GroupNorm(5, 5)
        self.place = nn.Parameter(torch.zeros(5, 12))
        self.act = nn.PReLU(5)
        self.last = nn.Linear(12, 3)
        for parameter in self.parameters():
            nn.init.normal_(parameter)  # no two are alike, and none is stored once for two

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(torch.relu(self.again(torch.relu(self.first(x)))))
        x = self.act(self.groups(self.norm(self.recurrent(x)[0] + self.place)))
        logits: Tensor = self.last(x[:, -1])
        return logits


STEPS = TensorInput(name="steps", item_shape=(5, 8))


def exported(network: nn.Module, spec: TensorInput | AudioInput) -> onnx.ModelProto:
    tensor = spec.tensor()
    example = torch.zeros(2, *tensor.item_shape)
    return onnx.shape_inference.infer_shapes(to_onnx(wrap(network, spec, "classify", example), tensor.name, example))


def test_a_published_model_has_a_row_for_every_weight_and_comes_before_an_architecture(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Sequence()
    export_model(network, ExportRequest("lenet", "classify", STEPS, labels=["a", "b", "c"]), tmp_path)
    run = CliRunner().invoke(describe, ["lenet", "--models", str(tmp_path)], catch_exceptions=False)
    lines = run.output.splitlines()
    assert lines[0] == f"lenet: version 1 of {tmp_path}"
    assert "where --models names a folder without it" in lines[1]
    cells = [re.split(r" {2,}", line) for line in lines[3:]]
    numbers = {name: sum(each.numel() for each in part.parameters()) for name, part in network.named_children()}
    assert [(row[0], row[1], row[4]) for row in cells[:-1]] == [
        ("first", "linear", f"{numbers['first']:,}"),
        ("again", "linear", f"{numbers['again']:,}"),
        ("again", "linear", "0"),
        ("recurrent", "bidirectional lstm", f"{numbers['recurrent']:,}"),
        ("place", "other (Add)", "60"),
        ("norm", "layer norm", "24"),
        ("groups", "other (Mul)", "10"),
        ("act", "prelu", "5"),
        ("last", "linear", "39"),
    ]
    assert cells[-1][:2] == ["total", f"{sum(each.numel() for each in network.parameters()):,}"]
    assert cells[3][2] == "5x12"
    assert cells[3][5] == f"{5 * 2 * 24 * (12 + 6):,}"


def test_the_network_that_is_made_smaller_has_its_folded_weights_as_well() -> None:
    torch.manual_seed(0)
    proto = exported(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3), Last()), STEPS)
    names = {each.name for each in proto.graph.initializer}
    assert {"network.0.weight", "network.2.weight"} <= names
    assert [node.op_type for node in extract_subgraph(proto).graph.node][:5] == ["MatMul", "Add", "Relu", "MatMul", "Add"]


class Last(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1]


def test_weight_norm_is_part_of_its_layer() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(weight_norm(nn.Conv2d(1, 4, 3)), nn.Flatten(), weight_norm(nn.Linear(144, 3)))
    layers = layers_of_network(network, (1, 8, 8))
    assert [(layer.name, layer.kind) for layer in layers] == [("0", "conv 3x3"), ("2", "linear")]
    assert sum(layer.parameters for layer in layers) == sum(each.numel() for each in network.parameters())
    assert layers[0].multiply_adds == 4 * 9 * 36
    folded = layers_of(ir.from_proto(exported(network, TensorInput(name="x", item_shape=(1, 8, 8)))))
    assert [(layer.name, layer.kind, layer.parameters) for layer in folded] == [("0", "conv 3x3", 40), ("2", "linear", 435)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fc8 latent4", "--columns", "30", "--size", "4"], "--size"),
        (["conv8 pool latent4", "--classes", "4"], "--classes"),
        (["digits", "--size", "4"], "sizes inside"),
        (["some.onnx", "--channels", "4"], "sizes inside"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(models: Path, arguments: list[str], says: str) -> None:
    run = CliRunner().invoke(describe, [*arguments, "--models", str(models)])
    assert run.exit_code == 2
    assert says in run.output


def test_the_help_has_the_grammar() -> None:
    shown = CliRunner().invoke(describe, ["--help"]).output
    assert all(line.strip() in shown for line in GRAMMAR.splitlines())


def test_a_published_model_is_described_without_its_front_end(models: Path) -> None:
    result = CliRunner().invoke(describe, ["kinds", "--models", str(models)], catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.output.splitlines()[1:]
    assert lines[0].split()[:3] == ["layer", "kind", "output"]
    assert lines[1].split()[0] == "0"
    assert "4x16x17" in lines[1]
    assert "3x3" in lines[1]


def test_what_is_nothing_is_said_to_be_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(describe, ["resnet99", "--models", str(tmp_path / "none")])
    assert "is not an architecture" in str(result.exception)
    assert "there is no repository" in str(result.exception)


@pytest.mark.parametrize(("name", "meant"), [("densenet", "densenet121"), ("LeNet", "lenet"), ("vgg-16", "vgg16")])
def test_a_name_that_is_nearly_an_architecture_is_not_taken_for_a_published_model(name: str, meant: str, models: Path) -> None:
    """Nor if a size is given: of a published model that would be refused, as it has its sizes inside."""
    for options in ((), ("--size", "224")):
        said = str(CliRunner().invoke(describe, [name, "--models", str(models), *options]).exception)
        assert f"{name!r} is not an architecture (lenet, " in said
        assert "and no model of " in said
        assert "kinds" in said
        assert f"did you mean {meant!r}? Or write package.module:factory" in said


@pytest.mark.parametrize("name", ["gone.onnx", "gone.pt2"])
def test_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    run = CliRunner().invoke(describe, [str(tmp_path / name)])
    assert str(run.exception) == f"{tmp_path / name} does not exist"


@pytest.mark.slow
def test_a_layout_of_torchvisions_is_shown_where_it_is_asked_for() -> None:
    adapted = CliRunner().invoke(describe, ["resnet34", "--size", "64"])
    torchvisions = CliRunner().invoke(describe, ["resnet34", "--size", "64", "--layout", "torchvision"])
    assert adapted.exit_code == torchvisions.exit_code == 0
    assert "maxpool" not in adapted.output
    assert "max pool 3x3 / 2" in torchvisions.output
    assert "max pool 3x3 / 2" not in adapted.output
    refused = CliRunner().invoke(describe, ["lenet", "--layout", "torchvision"])
    assert "'lenet' has one layout" in refused.output

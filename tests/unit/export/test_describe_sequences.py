"""description/operators.py and graph_layers.py.

`avizor describe` of networks that are no plain stacks of convolutions: attention, steps before the batch, channels last.
"""

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from avizor_export.description.design_rules import warnings_for
from avizor_export.description.graph_layers import layers_of, parameters_of
from avizor_export.description.layer import Layer
from avizor_export.description.table import layer_table, unexplained_parameters
from avizor_export.description.targets import layers_of_file, layers_of_network
from avizor_export.graph.to_onnx import to_program
from avizor_export.networks.onnx_adoption import adopt

STEPS, WIDTH = 12, 8


class Attention(nn.Module):
    """One block of a transformer, with the batch before the steps or after them."""

    def __init__(self, is_batch_first: bool) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=is_batch_first)
        self.last = nn.Linear(WIDTH, 5)
        self.is_batch_first = is_batch_first

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.block(x).mean(1) if self.is_batch_first else self.block(x.transpose(0, 1)).mean(0))
        return logits


@pytest.mark.parametrize("is_batch_first", [True, False])
def test_attention_is_counted_for_every_step(is_batch_first: bool) -> None:
    layers = layers_of_network(Attention(is_batch_first), (STEPS, WIDTH))
    # Three projections and the one after them; the two of the feed-forward part; the last layer.
    linear = STEPS * (4 * WIDTH**2 + 2 * 32 * WIDTH) + 5 * WIDTH
    products = 2 * STEPS**2 * WIDTH
    assert work(layers, "linear") == linear
    assert work(layers, "product") == products
    assert layer_table(layers)[-1][5:] == (f"{linear + products:,}", "100.0%")


class Film(nn.Module):
    """Frames in the batch of a convolution, then steps of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.steps = nn.LSTM(4, 8, batch_first=True)
        self.last = nn.Linear(8, 5)

    def forward(self, film: Tensor) -> Tensor:
        frames = self.conv(film.flatten(0, 1)).mean((2, 3)).unflatten(0, (film.shape[0], film.shape[1]))
        logits: Tensor = self.last(self.steps(frames)[0][:, -1])
        return logits


def test_frames_that_are_in_the_batch_are_all_counted() -> None:
    layers = layers_of_network(Film(), (4, 1, 8, 8))
    assert work(layers, "conv 3x3") == 4 * 4 * 9 * 64
    assert work(layers, "lstm") == 4 * 4 * 8 * (4 + 8)
    assert work(layers, "linear") == 40
    assert next(layer.output for layer in layers if layer.kind == "conv 3x3") == (4, 8, 8)


def work(layers: list[Layer], kind: str) -> int:
    return sum(layer.multiply_adds or 0 for layer in layers if layer.kind == kind)


def saved(path: Path, item: list[str | int], nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> Path:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *item])
    given_back = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [given], [given_back], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def numbers(name: str, *values: int) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def weights(name: str, *shape: int) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, shape, torch.rand(shape).flatten().tolist())


def test_a_size_that_is_a_quotient_is_worked_out(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "second"], ["wide"]),
        helper.make_node("Div", ["wide", "two"], ["half"]),
        helper.make_node("Concat", ["minus", "half", "two"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["pairs"]),
        helper.make_node("MatMul", ["pairs", "weight"], ["y"]),
    ]
    constants = [numbers("second", 1), numbers("two", 2), numbers("minus", -1), weights("weight", 2, 3)]
    (layer,) = layers_of_file(saved(tmp_path / "halved.onnx", [10], nodes, constants))
    assert (layer.output, layer.multiply_adds) == ((5, 3), 5 * 2 * 3)


def test_what_the_graph_does_not_tell_is_a_question_mark(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["map"], kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["y"]),
    ]
    constants = [weights("kernel", 4, 1, 3, 3), weights("weight", 4, 5)]
    layers = layers_of_file(saved(tmp_path / "free.onnx", [1, "height", 8], nodes, constants))
    conv, _, linear, total = layer_table(layers)[1:]
    assert conv[2:] == ("4x?x6", "3x3", "36", "?", "?")
    assert linear[4:] == ("20", "20", "?")
    assert total[4:] == ("56", "over 20", "?")
    assert not [warning for warning in warnings_for(layers) if "its padding" in warning or "x0" in warning]


class Block(nn.Module):
    """As of ConvNeXt: a depthwise convolution, then layer norm and linear layers on the channels, which come last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 4, 4)
        self.depthwise = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)
        self.flat = nn.Linear(8 * 8 * 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.norm(self.depthwise(self.stem(x)).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        logits: Tensor = self.flat(x.flatten(1))
        return logits


def test_a_linear_layer_on_channels_sees_no_more_and_depthwise_kernels_may_be_large() -> None:
    layers = layers_of_network(Block(), (1, 32, 32))
    fields = {layer.name: layer.field for layer in layers}
    assert fields == {"stem": (4, 4), "depthwise": (28, 28), "norm": (28, 28), "mix": (28, 28), "flat": None}
    assert warnings_for(layers) == []


def test_a_linear_layer_on_the_places_of_a_map_sees_all_of_them() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 8, 4, 4)
            self.mix = nn.Linear(64, 64)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).flatten(2).transpose(1, 2)
            mixed: Tensor = self.mix(x.transpose(1, 2))
            return mixed

    assert [layer.field for layer in layers_of_network(Mixer(), (1, 32, 32))] == [(4, 4), None]


def test_single_constants_of_an_adopted_graph_are_no_parameters(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 5)).eval()
    to_program(network, torch.rand(2, 8), ["x"], ["logits"]).save(tmp_path / "given.onnx")
    stored = onnx.load(tmp_path / "given.onnx").graph.initializer
    assert any(not each.dims for each in stored)  # GELU's
    proto = adopt(tmp_path / "given.onnx", None, "classify").proto
    layers = layers_of(ir.from_proto(proto))
    assert [layer.kind for layer in layers] == ["linear", "linear"]
    assert parameters_of(proto) == sum(each.numel() for each in network.parameters()) == 453
    assert sum(layer.parameters for layer in layers_of_file(tmp_path / "given.onnx")) == 453


def layer(parameters: int, again: int = 0, norm: str = "") -> Layer:
    return Layer("0", "linear", (1,), None, parameters=parameters, again=again, norm_inside=norm)


@pytest.mark.parametrize(
    ("layers", "total", "says"),
    [
        ([layer(10, again=4)], 14, "export stores equal weights once."),
        ([layer(10, norm="weight norm")], 12, "export folds weight norm into the layers they belong to."),
        (
            [layer(10, norm="batch norm"), layer(5, again=5)],
            30,
            "export folds batch norm into the layers they belong to, and stores equal weights once.",
        ),
        ([layer(10)], 14, "export folds batch norms into the layers before them, and leaves out weights that no output needs."),
        ([layer(10)], 8, "buffers are not parameters."),
    ],
)
def test_only_causes_that_occur_are_named(layers: list[Layer], total: int, says: str) -> None:
    assert unexplained_parameters(layers, total) == (
        f"The layers of the graph have {sum(each.parameters for each in layers):,} numbers, the network has {total:,} "
        f"parameters: {says}"
    )


def test_a_batch_norm_that_was_folded_is_seen_by_the_bias_that_it_left() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5))
    nn.init.ones_(network[1].bias)  # type: ignore[arg-type]  # a bias of 0 would be left out
    program = to_program(network.eval(), torch.rand(2, 1, 8, 8), ["x"], ["y"])
    assert [each.norm_inside for each in layers_of(program.model)] == ["batch norm", ""]


def test_a_weight_that_two_layers_use_is_counted_in_the_first_and_noted_in_the_second() -> None:
    graph = to_program(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), torch.rand(2, 4), ["x"], ["y"]).model
    shared = graph.graph.initializers["0.weight"]
    for node in graph.graph:
        if node.op_type == "Gemm":
            node.replace_input_with(1, shared)
    assert [each.again for each in layers_of(graph)] == [0, 16]

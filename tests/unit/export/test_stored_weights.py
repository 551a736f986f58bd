"""description/stored_weights.py.

Weights are counted wherever a file keeps them: initializers, `Constant` nodes, branches, functions, beside it, quantised.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from avizor_export.data.labelled_items import LabelledItems
from avizor_export.description.cli import describe
from avizor_export.description.targets import layers_of_file
from avizor_export.exporter import adopt_model
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import TensorInput

RNG = np.random.default_rng(0)
W, B, V = (RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 8), (8,), (8, 3)))
INT8 = np.clip(W / 0.05, -128, 127).astype(np.int8)
SCALES = np.full(8, 0.05, np.float32)
SPEC = TensorInput(name="x", item_shape=(4,))
LABELS = ["a", "b", "c"]
ALL = W.size + B.size + V.size

Node = onnx.NodeProto


def node(operator: str, inputs: str, output: str, **attributes: Any) -> Node:
    return helper.make_node(operator, inputs.split(), output.split(), **attributes)


def constant(name: str, value: np.ndarray) -> Node:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))


NETWORK = [node("MatMul", "x w", "z"), node("Add", "z b", "a"), node("Relu", "a", "r"), node("MatMul", "r v", "y")]
LAST = [node("Add", "z b", "a"), node("MatMul", "a v", "y")]
CONDITION = [node("ReduceSum", "x", "s", keepdims=0), node("Greater", "s nothing", "c")]


def model(nodes: Sequence[Node], **weights: Any) -> onnx.ModelProto:
    """From x [batch, 4] to y [batch, 3]."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def branch(name: str, times: float, *, constants: bool) -> onnx.GraphProto:
    """x times a weight of its own, in an initializer or in a node."""
    weight = f"{name}.w"
    stored = numpy_helper.from_array(times * W, weight)
    nodes = [helper.make_node("Constant", [], [weight], value=stored)] if constants else []
    nodes.append(node("MatMul", f"x {weight}", f"{name}.z"))
    output = helper.make_tensor_value_info(f"{name}.z", TensorProto.FLOAT, None)
    return helper.make_graph(nodes, name, [], [output], [] if constants else [stored])


def branches(*, constants: bool) -> list[Node]:
    then, other = branch("then", 1, constants=constants), branch("else", 2, constants=constants)
    return [*CONDITION, node("If", "c", "z", then_branch=then, else_branch=other), *LAST]


def loop() -> list[Node]:
    """x is multiplied three times by a square weight within the body."""
    square = numpy_helper.from_array(np.eye(4, dtype=np.float32), "u")
    body = helper.make_graph(
        [node("MatMul", "h u", "h.out"), node("Identity", "go", "go.out")],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, None),
        ],
        [helper.make_tensor_value_info("go.out", TensorProto.BOOL, None), helper.make_tensor_value_info("h.out", 1, None)],
        [square],
    )
    return [node("Loop", "times yes x", "looped", body=body), node("MatMul", "looped w", "z"), *LAST]


def nested() -> list[Node]:
    """A branch within a branch."""
    first, second = branch("then", 1, constants=True), branch("inner.else", 3, constants=False)
    inner = node("If", "c", "inner.z", then_branch=first, else_branch=second)
    then = helper.make_graph([inner], "outer", [], [helper.make_tensor_value_info("inner.z", TensorProto.FLOAT, None)])
    other = branch("else", 2, constants=True)
    return [*CONDITION, node("If", "c", "z", then_branch=then, else_branch=other), *LAST]


def in_a_function() -> onnx.ModelProto:
    """The first layer and its weight are a function of the file's own."""
    given = model([node("Layer", "x", "z", domain="own"), *LAST], b=B, v=V)
    given.opset_import.append(helper.make_opsetid("own", 1))
    body = [constant("fw", W), node("MatMul", "fx fw", "fz")]
    given.functions.append(helper.make_function("own", "Layer", ["fx"], ["fz"], body, [helper.make_opsetid("", 18)]))
    return given


def sparse(in_a_node: bool) -> onnx.ModelProto:
    values = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "w")
    tensor = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([0, 9, 20]), "places"), [4, 8])
    if in_a_node:
        return model([helper.make_node("Constant", [], ["w"], sparse_value=tensor), *NETWORK], b=B, v=V)
    given = model(NETWORK, b=B, v=V)
    given.graph.sparse_initializer.append(tensor)
    return given


def quantised(scale: Any) -> onnx.ModelProto:
    steps = [node("QuantizeLinear", "x xs xz", "xq"), node("DequantizeLinear", "xq xs xz", "xd")]
    weight = node("DequantizeLinear", "wq ws wz", "w", axis=1)
    zero = np.zeros(np.shape(scale), np.int8)
    first = node("MatMul", "xd w", "z")
    return model([*steps, weight, first, *LAST], xs=np.float32(0.1), xz=np.uint8(3), wq=INT8, ws=scale, wz=zero, b=B, v=V)


def integers() -> onnx.ModelProto:
    steps = [
        node("QuantizeLinear", "x xs xz", "xq"),
        node("QLinearMatMul", "xq xs xz wq ws wz zs zz", "zq"),
        node("DequantizeLinear", "zq zs zz", "z"),
    ]
    one, zero = np.float32(0.1), np.uint8(100)
    return model([*steps, *LAST], xs=one, xz=zero, wq=INT8, ws=SCALES, wz=np.zeros(8, np.int8), zs=one, zz=zero, b=B, v=V)


FILES = {
    "initializers": (model(NETWORK, w=W, b=B, v=V), ALL),
    "constants": (model([constant("w", W), constant("b", B), constant("v", V), *NETWORK]), ALL),
    "a list of floats": (model([helper.make_node("Constant", [], ["b"], value_floats=B.tolist()), *NETWORK], w=W, v=V), ALL),
    "branches": (model(branches(constants=False), nothing=np.float32(0), b=B, v=V), ALL + W.size),
    "constants in branches": (model(branches(constants=True), nothing=np.float32(0), b=B, v=V), ALL + W.size),
    "branches in branches": (model(nested(), nothing=np.float32(0), b=B, v=V), ALL + 2 * W.size),
    "a loop": (model(loop(), times=np.array(3), yes=np.array(True), w=W, b=B, v=V), ALL + 16),
    "copies and types": (
        model(
            [node("Identity", "w0", "w"), node("Cast", "v16", "v", to=TensorProto.FLOAT), *NETWORK],
            w0=W,
            b=B,
            v16=V.astype(np.float16),
        ),
        ALL,
    ),
    "shapes": (
        model(
            [node("Transpose", "wt", "w"), node("Reshape", "flat sizes", "v"), *NETWORK],
            wt=np.ascontiguousarray(W.T),
            b=B,
            flat=V.reshape(-1),
            sizes=np.array([8, 3]),
        ),
        ALL,
    ),
    "int8": (quantised(np.float32(0.05)), ALL),
    "int8 by channel": (quantised(SCALES), ALL),
    "integer operators": (integers(), ALL),
    "a function": (in_a_function(), ALL),
    "sparse": (sparse(in_a_node=False), ALL),
    "a sparse constant": (sparse(in_a_node=True), ALL),
    "scales of a resize": (
        model(
            [
                node("MatMul", "x w", "z"),
                node("Reshape", "z map", "m"),
                node("Resize", "m none scales", "wide"),
                node("ReduceMean", "wide last", "n", keepdims=0),
                node("Flatten", "n", "f"),
                node("MatMul", "f v", "y"),
            ],
            w=W,
            map=np.array([-1, 2, 2, 2]),
            none=np.zeros(0, np.float32),
            scales=np.array([1, 1, 2, 2], np.float32),
            last=np.array([3]),
            v=V,
        ),
        W.size + V.size,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_every_weight_of_a_file_is_counted_once(tmp_path: Path, name: str) -> None:
    proto, numbers = FILES[name]
    onnx.save(proto, tmp_path / "given.onnx")
    assert sum(layer.parameters for layer in layers_of_file(tmp_path / "given.onnx")) == numbers


@pytest.mark.parametrize("name", ["constants", "branches", "constants in branches", "a loop", "a function", "int8"])
def test_the_manifest_and_card_of_such_a_file_count_them_too(tmp_path: Path, name: str) -> None:
    proto, numbers = FILES[name]
    onnx.save(proto, tmp_path / "given.onnx")
    if "branches" in name:  # a sum over the batch chooses them, and that would be refused
        proto.graph.node[0].CopyFrom(helper.make_node("ReduceSum", ["nothing"], ["s"], keepdims=0))
        onnx.save(proto, tmp_path / "given.onnx")
    version = adopt_model(tmp_path / "given.onnx", ExportRequest("m", "classify", SPEC, labels=LABELS), tmp_path / "models")
    assert version.manifest.provenance.parameters == numbers
    assert f"{numbers:,} parameters" in (version.folder / "card.md").read_text()


def test_numbers_that_lie_beside_the_file_are_counted_and_may_be_away(tmp_path: Path) -> None:
    proto = model(NETWORK, w=W, b=B, v=V)
    onnx.save(proto, tmp_path / "given.onnx", save_as_external_data=True, location="given.data", size_threshold=0)
    assert sum(layer.parameters for layer in layers_of_file(tmp_path / "given.onnx")) == ALL
    (tmp_path / "given.data").unlink()
    assert sum(layer.parameters for layer in layers_of_file(tmp_path / "given.onnx")) == ALL


class Either(nn.Module):
    """One of two layers, by a condition that torch.export keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one, self.other, self.last = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(torch.cond(x.sum() > 0, self.one, self.other, (self.first(x),)))
        return logits


@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_both_branches_of_a_torch_cond_are_counted(tmp_path: Path, ending: str) -> None:
    network, path, free = Either().eval(), tmp_path / f"given{ending}", ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network, (torch.rand(2, 4),), dynamic_shapes=free)
    if ending == ".pt2":
        torch.export.save(program, path)
    else:
        torch.onnx.export(program, dynamo=True, optimize=False, verbose=False).save(path)  # type: ignore[union-attr]
    shown = CliRunner().invoke(describe, [str(path)], catch_exceptions=False).output
    total = shown.splitlines()[-1].split()
    assert total[1] == str(sum(parameter.numel() for parameter in network.parameters()))
    (row,) = (line.split() for line in shown.splitlines() if "other (If)" in line)
    assert "144" in row
    assert "?" in row  # what the branches multiply is not worked out, and not taken for nothing
    assert "over" in total


def test_a_file_with_its_weights_in_constants_is_quantised(tmp_path: Path) -> None:
    onnx.save(FILES["constants"][0], tmp_path / "given.onnx")
    rows = RNG.standard_normal((200, 4)).astype(np.float32)
    held_out = LabelledItems(rows, np.argmax(np.maximum(rows @ W + B, 0) @ V, axis=1))
    request = ExportRequest(
        "m", "classify", SPEC, labels=LABELS, precision="int8", real_items=rows, held_out=held_out, max_drop=0.1
    )
    made = onnx.load(adopt_model(tmp_path / "given.onnx", request, tmp_path / "models").model_path)
    assert {each.data_type for each in made.graph.initializer if tuple(each.dims) in (W.shape, V.shape)} == {TensorProto.INT8}

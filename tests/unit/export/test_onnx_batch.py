"""networks/onnx_batch*.py, onnx_rows.py, onnx_network.py: a frozen batch is freed and proven, or refused with the node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from avizor_export.networks.onnx_input import tensor_input
from avizor_export.networks.onnx_network import network_as_it_is, network_with_free_batch
from avizor_export.networks.onnx_opening import open_onnx
from avizor_export.networks.onnx_rows import prove_rows
from avizor_export.parity.compare import onnxruntime_run
from avizor_inference.errors import ExportError, FrozenBatch
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.onnx_graph import graph_of

RNG = np.random.default_rng(0)
Nodes = Sequence[onnx.NodeProto]
Constants = dict[str, NDArray[Any]]


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """A node; names are separated by blanks, `-` stands for an input that is left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(operator, names, output.split(), **attributes)


def floats(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def frozen(nodes: Nodes, constants: Constants, item: Sequence[int], batch: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *item])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)


def freed(folder: Path, proto: onnx.ModelProto) -> onnx.ModelProto:
    onnx.save(proto, folder / "m.onnx")
    opened = open_onnx(folder / "m.onnx")
    return network_with_free_batch(opened, tensor_input(opened.tensor, opened.path))


def reshaped(batch: int) -> tuple[Nodes, Constants, Sequence[int]]:
    """A channel shuffle, as of ShuffleNet, then a flatten by numbers."""
    nodes = [
        node("Reshape", "x groups", "a"),
        node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "b maps", "c"),
        node("Reshape", "c row", "d"),
        node("MatMul", "d w", "y"),
    ]
    sizes = {"groups": [batch, 2, 2, 3, 3], "maps": [batch, 4, -1, 3], "row": [batch, -1]}
    return nodes, {**{name: np.array(each) for name, each in sizes.items()}, "w": floats(36, 2)}, (4, 3, 3)


def computed(batch: int) -> tuple[Nodes, Constants, Sequence[int]]:
    """Sizes that the graph computes, one of them of the batch and one a number."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s first", "n", axis=0),
        node("Concat", "n rest", "t", axis=0),
        node("Reshape", "x t", "a"),
        node("MatMul", "a w", "y"),
    ]
    return nodes, {"first": np.array([0]), "rest": np.array([6]), "w": floats(6, 2)}, (2, 3)


def attention(batch: int) -> tuple[Nodes, Constants, Sequence[int]]:
    """As torch writes it: the sequence first, heads joined with the batch, and the batch joined with the sequence."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),  # [5, n, 8]
        node("Reshape", "t heads", "h"),  # [5, n * 2, 4]
        node("Transpose", "h", "q", perm=[1, 0, 2]),
        node("Transpose", "h", "k", perm=[1, 2, 0]),
        node("MatMul", "q k", "scores"),
        node("Softmax", "scores", "a", axis=-1),
        node("MatMul", "a q", "v"),  # [n * 2, 5, 4]
        node("Transpose", "v", "u", perm=[1, 0, 2]),
        node("Reshape", "u joined", "r"),  # [5 * n, 8]
        node("Gemm", "r w b", "g"),
        node("Reshape", "g apart", "o"),  # [5, n, 8]
        node("ReduceMean", "o zero", "y", keepdims=0),
    ]
    sizes = {"heads": [5, batch * 2, 4], "joined": [5 * batch, 8], "apart": [5, batch, 8], "zero": [0]}
    return nodes, {**{name: np.array(each) for name, each in sizes.items()}, "w": floats(8, 8), "b": floats(8)}, (5, 8)


def class_token(batch: int) -> tuple[Nodes, Constants, Sequence[int]]:
    """A constant row before the others, expanded to the batch, as of a vision transformer."""
    nodes = [
        node("Expand", "token sizes", "e"),
        node("Concat", "e x", "c", axis=1),
        node("ReduceSum", "c one", "y", keepdims=0),
    ]
    return nodes, {"token": floats(1, 1, 4), "sizes": np.array([batch, 1, 4]), "one": np.array([1])}, (3, 4)


def lstm(batch: int) -> tuple[Nodes, Constants, Sequence[int]]:
    """Initial states that are constants with a row for each item."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("LSTM", "t w r - lengths h0 h0", "all last", hidden_size=2),
        node("Squeeze", "last zero", "y"),
    ]
    state = np.repeat(floats(1, 1, 2), batch, axis=1)
    lengths = np.full(batch, 3, np.int32)
    return nodes, {"w": floats(1, 8, 4), "r": floats(1, 8, 2), "h0": state, "zero": np.array([0]), "lengths": lengths}, (3, 4)


def upsampled(batch: int) -> tuple[Nodes, Constants, Sequence[int]]:
    """A resize to given sizes, and a crop whose bounds name the batch."""
    nodes = [
        node("Resize", "x - - sizes", "r", mode="linear"),
        node("Slice", "r first last axes", "s"),
        node("Flatten", "s", "y"),
    ]
    bounds = {"first": [0, 1], "last": [batch, 4], "axes": [0, 2]}
    return nodes, {**{name: np.array(each) for name, each in bounds.items()}, "sizes": np.array([batch, 1, 5, 6])}, (1, 3, 3)


def squeezed(batch: int) -> tuple[Nodes, Constants, Sequence[int]]:
    """squeeze() without dimensions, which also removes a batch of 1."""
    return [node("GlobalAveragePool", "x", "p"), node("Squeeze", "p", "y")], {}, (3, 2, 2)


def strided(batch: int) -> tuple[Nodes, Constants, Sequence[int]]:
    """torch's as_strided: indices into the whole flat batch, and rows taken by their numbers."""
    nodes = [node("Reshape", "x flat", "f"), node("Gather", "f places", "g"), node("Gather", "g rows", "y", axis=0)]
    places = np.array([[3], [1]]) + 4 * np.arange(batch).reshape(-1, 1, 1)
    return nodes, {"flat": np.array([-1]), "places": places, "rows": np.arange(batch)}, (4,)


def zeros(batch: int) -> tuple[Nodes, Constants, Sequence[int]]:
    """A state that begins with zeros, one row for each item."""
    nodes = [node("ConstantOfShape", "sizes", "h"), node("MatMul", "x w", "z"), node("Add", "z h", "y")]
    return nodes, {"sizes": np.array([batch, 3]), "w": floats(4, 3)}, (4,)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "network",
    [reshaped, computed, attention, class_token, lstm, upsampled, squeezed, strided, zeros],
    ids=lambda each: each.__name__,
)
def test_a_freed_graph_returns_for_each_row_what_the_file_returns(tmp_path: Path, network: Any, batch: int) -> None:
    nodes, constants, item = network(batch)
    proto = frozen(nodes, constants, item, batch)
    result = freed(tmp_path, proto)
    assert graph_of(result).inputs[0].dims == (None, *item)
    rows = floats(6, *item)
    file = onnxruntime_run(proto)
    whole: NDArray[Any] = onnxruntime_run(result)(rows)["y"]
    parts: NDArray[Any] = np.concatenate([file(rows[start : start + batch])["y"] for start in range(0, 6, batch)])
    np.testing.assert_allclose(whole, parts.reshape(whole.shape), rtol=1e-4, atol=1e-5)


def loop() -> tuple[Nodes, Constants, Sequence[int]]:
    """A loop of two rounds, one for each row of a batch of 2."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Gather", "x i", "row", axis=0), node("Identity", "c", "c2")],
        "body",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, [])],
        [value("c2", TensorProto.BOOL, []), value("row", TensorProto.FLOAT, None)],
    )
    return [node("Loop", "rounds yes", "y", body=body)], {"rounds": np.array(2), "yes": np.array(True)}, (4,)


REFUSED = {
    "a mean over the batch": (
        [node("ReduceMean", "x zero", "m", keepdims=1), node("Sub", "x m", "y")], {"zero": np.array([0])}, (4,), 1,
        r"ReduceMean 'm' returns \[1, 4\] for a batch of any size",
    ),
    "a norm over the batch": (
        [node("Softmax", "x", "y", axis=0)], {}, (4,), 1,
        "Softmax 'y' does not return for a row what it returns in the file, on a batch of 2",
    ),
    "training": (
        [node("BatchNormalization", "x s b m v", "y m2 v2", training_mode=1)],
        {"s": np.ones(4, np.float32), "b": floats(4), "m": floats(4), "v": np.ones(4, np.float32)}, (4,), 2,
        "BatchNormalization 'y' is in training mode",
    ),
    "one row of the batch": (
        [node("Gather", "x first", "r", axis=0), node("Add", "x r", "y")], {"first": np.array(0)}, (4,), 2,
        "Gather 'r' takes some of the rows",
    ),
    "a reshape across rows": (
        [node("Reshape", "x sizes", "y")], {"sizes": np.array([3, 2])}, (3,), 2,
        r"Reshape 'y' mixes the batch with other sizes: it makes \[3, 2\] of \[2, 3\]",
    ),
    "a part of the rows": (
        [node("Slice", "x zero one zero", "r"), node("Add", "x r", "y")],
        {"zero": np.array([0]), "one": np.array([1])}, (4,), 2,
        "Slice 'r' takes 1 of the 2 rows of its batch",
    ),
    "a state of its own for each row": (
        [node("Add", "x state", "y")], {"state": floats(2, 4)}, (4,), 2, "each has weights of its own",
    ),
    "the batch as time": (
        [node("Reshape", "x sizes", "s"), node("RNN", "s w r", "all last", hidden_size=2), node("Squeeze", "all", "y")],
        {"sizes": np.array([2, 1, 4]), "w": floats(1, 2, 4), "r": floats(1, 2, 2)}, (4,), 2,
        "RNN 'all' takes the batch for its",
    ),
    "no row for each item": (
        [node("MatMul", "x w", "z"), node("Transpose", "z", "y")], {"w": floats(4, 3)}, (4,), 2,
        r"output 'y', \[3, 2\] for a batch",
    ),
    "a loop": (*loop(), 2, "Loop 'y' does not run on a batch of 1"),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "constants", "item", "batch", "says"), REFUSED.values(), ids=REFUSED)
def test_a_batch_that_cannot_be_freed_is_refused_with_the_node_and_a_way_that_works(
    tmp_path: Path, nodes: Nodes, constants: Constants, item: Sequence[int], batch: int, says: str
) -> None:
    with pytest.raises(ExportError, match=f"its batch, frozen at {batch}, cannot be freed: .*{says}") as caught:
        freed(tmp_path, frozen(nodes, constants, item, batch))
    assert "dynamic_shapes" in str(caught.value)


def test_without_the_option_a_frozen_batch_is_refused_and_the_option_named(tmp_path: Path) -> None:
    onnx.save(frozen([node("Relu", "x", "y")], {}, (4,), 1), tmp_path / "m.onnx")
    opened = open_onnx(tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="batch dimension of x is frozen at 1; free it with --free-batch, or export it again"):
        network_as_it_is(opened, tensor_input(opened.tensor, opened.path))


def test_a_batch_that_is_frozen_inside_alone_is_found_by_running(tmp_path: Path) -> None:
    proto = frozen([node("Reshape", "x sizes", "y")], {"sizes": np.array([2, 4])}, (2, 2), 2)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    onnx.save(proto, tmp_path / "m.onnx")
    opened = open_onnx(tmp_path / "m.onnx").frozen_inside()
    assert opened.frozen == 2
    result = network_with_free_batch(opened, tensor_input(opened.tensor, opened.path))
    assert onnxruntime_run(result)(floats(5, 2, 2))["y"].shape == (5, 4)


def test_rows_that_change_each_other_a_little_are_found() -> None:
    """A graph that adds a thousandth of the batch's mean: of equal size for each batch size, wrong in its values."""
    file = frozen([node("Relu", "x", "y")], {}, (4,), 1)
    mixing = [
        node("ReduceMean", "x zero", "m", keepdims=1),
        node("Mul", "m little", "l"),
        node("Relu", "x", "r"),
        node("Add", "r l", "y"),
    ]
    network = frozen(mixing, {"zero": np.array([0]), "little": np.array(0.01, np.float32)}, (4,), 1)
    network.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(FrozenBatch, match="does not return for a row what it returns in the file"):
        prove_rows(file, file, network, TensorInput(name="x", item_shape=(4,)), 1)

"""networks/onnx_files.py, onnx_versions.py, onnx_input.py: any opset and IR version, weights beside the file, free sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from avizor_export.networks.onnx_input import tensor_input
from avizor_export.networks.onnx_network import network_as_it_is
from avizor_export.networks.onnx_opening import open_onnx
from avizor_export.parity.compare import onnxruntime_run
from avizor_inference.errors import ExportError
from avizor_inference.repository.onnx_graph import graph_of

RNG = np.random.default_rng(0)
Constants = Mapping[str, NDArray[Any]]


def floats(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def written(
    folder: Path, node: onnx.NodeProto, opset: int, item: tuple[int | str, ...], constants: Constants, ir_version: int = 10
) -> Path:
    """A file with one node from x [n, *item] to y, with as many dimensions."""
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *item])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", *(f"d{index}" for index, _ in enumerate(item))])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    return folder / "m.onnx"


def network(path: Path) -> onnx.ModelProto:
    opened = open_onnx(path)
    return network_as_it_is(opened, tensor_input(opened.tensor, path))


ANY_OPSET = {
    "Upsample 9": (
        helper.make_node("Upsample", ["x", "s"], ["y"], mode="linear"), 9, (1, 3, 3), {"s": np.array([1, 1, 2, 2], np.float32)}
    ),
    "Upsample 8": (helper.make_node("Upsample", ["x"], ["y"], scales=[1.0, 1.0, 1.5, 2.0]), 8, (1, 3, 3), {}),
    "Softmax 9": (helper.make_node("Softmax", ["x"], ["y"], axis=1), 9, (3, 1, 1), {}),
    "BatchNormalization 7": (
        helper.make_node("BatchNormalization", ["x", "a", "a", "a", "v"], ["y"]), 7, (2, 3, 3),
        {"a": floats(2), "v": np.array([1, 2], np.float32)},
    ),
    "Gelu 20": (helper.make_node("Gelu", ["x"], ["y"]), 20, (4,), {}),
    "Gelu 20, tanh": (helper.make_node("Gelu", ["x"], ["y"], approximate="tanh"), 20, (4,), {}),
    "GroupNormalization 21": (
        helper.make_node("GroupNormalization", ["x", "a", "b"], ["y"], num_groups=2), 21, (4, 3),
        {"a": floats(4), "b": floats(4)},
    ),
    "AveragePool 22": (helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2]), 22, (1, 3, 3), {}),
    "RMSNormalization 23": (helper.make_node("RMSNormalization", ["x", "a"], ["y"]), 23, (4,), {"a": floats(4)}),
    "Swish 24": (helper.make_node("Swish", ["x"], ["y"], alpha=2.0), 24, (4,), {}),
}  # fmt: skip


@pytest.mark.parametrize(("node", "opset", "item", "constants"), ANY_OPSET.values(), ids=ANY_OPSET)
def test_a_file_of_another_opset_computes_the_same_in_that_of_the_contract(
    tmp_path: Path, node: onnx.NodeProto, opset: int, item: tuple[int, ...], constants: Constants
) -> None:
    path = written(tmp_path, node, opset, item, constants)
    rows = floats(1, *item)
    converted = network(path)
    assert (graph_of(converted).opset, converted.ir_version) == (18, 10)
    assert {each.op_type for each in converted.graph.node}.isdisjoint({"CastLike", "Gelu", "RMSNormalization", "Swish"})
    actual: NDArray[Any] = onnxruntime_run(converted)(rows)["y"]
    expected: NDArray[Any] = onnxruntime_run(onnx.load(path))(rows)["y"]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("node", "opset", "message"),
    [
        (helper.make_node("DFT", ["x", "", "a"], ["y"]), 20, "cannot be converted to opset 18: Axis input must be"),
        (helper.make_node("CumProd", ["x", "a"], ["y"]), 26, "cannot be converted to opset 18: CumProd is not as in 18"),
        (helper.make_node("Relu", ["x"], ["y"]), 99, r"cannot be converted to opset 18: onnx \S+ knows opsets up to"),
    ],
)
def test_an_opset_that_cannot_be_converted_is_named_with_operator_and_way_out(
    tmp_path: Path, node: onnx.NodeProto, opset: int, message: str
) -> None:
    path = written(tmp_path, node, opset, (4, 2), {"a": np.array(1)} if opset == 26 else {})
    if opset == 20:  # an axis that is computed
        proto = onnx.load(path)
        proto.graph.node.insert(0, helper.make_node("Size", ["x"], ["a"]))
        path.write_bytes(proto.SerializeToString())
    with pytest.raises(ExportError, match=f"m.onnx has opset {opset} and IR version 10, .*{message}") as caught:
        open_onnx(path)
    assert str(caught.value).endswith("export it again with opset_version=18")
    assert "Assertion" not in str(caught.value)


@pytest.mark.parametrize("ir_version", [3, 8, 13, 99])
def test_any_ir_version_is_brought_to_that_of_the_contract(tmp_path: Path, ir_version: int) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = written(tmp_path, node, 18 if ir_version > 3 else 8, (4,), {"w": floats(4, 2)}, ir_version)
    if ir_version == 3:  # weights had to be inputs too
        proto = onnx.load(path)
        proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 2]))
        path.write_bytes(proto.SerializeToString())
    assert network(path).ir_version == 10


def test_a_type_that_came_after_the_contracts_ir_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, helper.make_node("Relu", ["x"], ["y"]), 18, (4,), {}, 12)
    proto = onnx.load(path)
    proto.graph.initializer.append(onnx.TensorProto(name="w", data_type=TensorProto.FLOAT4E2M1, dims=[2], raw_data=b"\0"))
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(
        ExportError, match=r"opset 18 and IR version 12, and its weight 'w' is of FLOAT4E2M1, which IR version 10"
    ):
        open_onnx(path)


def test_a_grid_sample_has_its_old_names_of_modes(tmp_path: Path) -> None:
    path = written(
        tmp_path, helper.make_node("GridSample", ["x", "g"], ["y"], mode="linear"), 20, (1, 3, 3), {"g": floats(1, 2, 2, 2)}
    )
    (node,) = open_onnx(path).proto.graph.node
    assert {each.name: helper.get_attribute_value(each) for each in node.attribute} == {"mode": b"bilinear"}


def with_weights_beside(folder: Path, location: str) -> Path:
    path = written(
        folder, helper.make_node("MatMul", ["x", "w"], ["y"]), 18, (4,), {"w": np.float32(np.arange(8)).reshape(4, 2)}
    )
    proto = onnx.load(path)
    onnx.external_data_helper.set_external_data(proto.graph.initializer[0], location)
    (folder / "m.onnx.data").write_bytes(proto.graph.initializer[0].raw_data)
    proto.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(proto.SerializeToString())
    return path


def test_weights_in_a_file_beside_it_come_inside(tmp_path: Path) -> None:
    proto = network(with_weights_beside(tmp_path, "m.onnx.data"))
    assert not graph_of(proto).external_data
    assert onnxruntime_run(proto)(np.ones((1, 4), np.float32))["y"].tolist() == [[12, 16]]


@pytest.mark.parametrize("location", ["gone.data", "../m.onnx.data", "/etc/hostname"])
def test_weights_elsewhere_are_refused_with_what_to_do(tmp_path: Path, location: str) -> None:
    with pytest.raises(ExportError, match=r"has weights in a separate file that cannot be read: .*; copy that file beside it"):
        open_onnx(with_weights_beside(tmp_path, location))


def test_free_sizes_are_those_of_an_item(tmp_path: Path) -> None:
    path = written(tmp_path, helper.make_node("GlobalAveragePool", ["x"], ["y"]), 18, (3, "h", "w"), {})
    opened = open_onnx(path, (3, 5, 7))
    assert tensor_input(opened.tensor, path).item_shape == (3, 5, 7)
    assert graph_of(opened.proto).outputs[0].dims == (None, 3, 1, 1)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ((3, "h", "w"), r"free: \[3, \?, \?\]; give them with --input, as in image:height=224,width=224,channels=3"),
        (("t", 40), r"free: \[\?, 40\]; give them with --input, as in tensor:name=x,item_shape=100/40"),
    ],
)
def test_free_sizes_without_an_item_are_refused_with_an_example(tmp_path: Path, item: tuple[int | str, ...], says: str) -> None:
    path = written(tmp_path, helper.make_node("Relu", ["x"], ["y"]), 18, item, {})
    with pytest.raises(ExportError, match=says):
        tensor_input(open_onnx(path).tensor, path)
    with pytest.raises(ExportError, match=r"is \[.*\], and by --input it is \[9\]; change --input"):
        open_onnx(path, (9,))

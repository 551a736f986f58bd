"""networks/onnx_adoption.py and onnx_sandbox.py.

ONNX files from elsewhere: the dialects that are understood, and what is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from avizor_export.networks.onnx_adoption import adopt
from avizor_export.networks.onnx_sandbox import check_in_sandbox
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.parity.references import reference_of, reference_run
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.manifest import Task
from avizor_inference.repository.onnx_graph import graph_of

WEIGHT = np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32)
ROWS = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)


def model(
    nodes: Sequence[onnx.NodeProto],
    dtype: int = TensorProto.FLOAT,
    batch: int | str = "batch",
    width: int = 2,
    weights: Sequence[tuple[str, NDArray[Any]]] = (("w", WEIGHT),),
    out: int | None = None,
) -> onnx.ModelProto:
    """A graph from x [batch, 4] to y [batch, width]."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, [batch, 4])],
        [helper.make_tensor_value_info("y", out or dtype, [batch, width])],
        [numpy_helper.from_array(value, name) for name, value in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def product() -> onnx.NodeProto:
    return helper.make_node("MatMul", ["x", "w"], ["y"])


def adopted(folder: Path, proto: onnx.ModelProto, spec: TensorInput | None = None, task: Task = "classify") -> onnx.ModelProto:
    onnx.save(proto, folder / "given.onnx")
    check_in_sandbox(folder / "given.onnx")
    return adopt(folder / "given.onnx", spec, task).proto


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def probabilities(proto: onnx.ModelProto, rows: NDArray[Any] = ROWS) -> NDArray[Any]:
    return onnxruntime_run(proto)(rows)["probabilities"]


def test_a_batch_of_minus_one_is_free(tmp_path: Path) -> None:
    proto = adopted(tmp_path, model([product()], batch=-1))
    np.testing.assert_allclose(probabilities(proto), softmax(ROWS @ WEIGHT), rtol=1e-5)


def test_only_constants_that_are_used_are_added(tmp_path: Path) -> None:
    """ONNX Runtime logs a warning of each that is not, whenever a server loads the model."""
    proto = adopted(tmp_path, model([product()]))
    added = {tensor.name for tensor in proto.graph.initializer if tensor.name.startswith("avizor.")}
    assert added <= {name for node in proto.graph.node for name in node.input}


def test_an_operator_set_that_no_node_uses_does_not_count(tmp_path: Path) -> None:
    given = model([product()])
    given.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    np.testing.assert_allclose(probabilities(adopted(tmp_path, given)), softmax(ROWS @ WEIGHT), rtol=1e-5)


def test_functions_of_the_files_own_are_written_out(tmp_path: Path) -> None:
    given = model([helper.make_node("Layer", ["x", "w"], ["y"], domain="own")])
    given.opset_import.append(helper.make_opsetid("own", 1))
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    given.functions.append(helper.make_function("own", "Layer", ["a", "b"], ["c"], body, [helper.make_opsetid("", 18)]))
    np.testing.assert_allclose(probabilities(adopted(tmp_path, given)), softmax(ROWS @ WEIGHT), rtol=1e-5)


def branches() -> list[onnx.NodeProto]:
    """y = x w where the sum of x is positive, else -x w: both branches use the graph's input and its weight."""

    def branch(name: str, last: str) -> onnx.GraphProto:
        nodes = [helper.make_node("MatMul", ["x", "w"], [f"{name}.p"]), helper.make_node(last, [f"{name}.p"], [f"{name}.y"])]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"{name}.y", TensorProto.FLOAT, None)])

    return [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=branch("then", "Identity"), else_branch=branch("else", "Neg")),
    ]


def test_branches_may_use_the_graphs_input(tmp_path: Path) -> None:
    proto = adopted(tmp_path, model(branches(), weights=[("w", WEIGHT), ("zero", np.zeros((), np.float32))]))
    for rows in (np.abs(ROWS), -np.abs(ROWS)):
        np.testing.assert_allclose(probabilities(proto, rows), softmax(np.abs(ROWS) @ WEIGHT), rtol=1e-5)


def test_outputs_of_another_type_are_served_as_float32(tmp_path: Path) -> None:
    wide = model([product()], dtype=TensorProto.DOUBLE, weights=[("w", WEIGHT.astype(np.float64))])
    found = probabilities(adopted(tmp_path, wide), ROWS.astype(np.float64))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, softmax(ROWS @ WEIGHT), rtol=1e-5)


def test_a_reconstruction_of_another_type_has_its_error(tmp_path: Path) -> None:
    weight = np.eye(4) * 0.5
    given = model([product()], dtype=TensorProto.DOUBLE, width=4, weights=[("w", weight)])
    found: dict[str, NDArray[Any]] = onnxruntime_run(adopted(tmp_path, given, task="reconstruct"))(ROWS.astype(np.float64))
    np.testing.assert_allclose(found["score"][:, 0], (ROWS**2).mean(axis=1) / 4, rtol=1e-5)
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}


def unknown_sizes(*shape: str) -> list[onnx.NodeProto]:
    """y = x w, in a shape that was made by way of floats, which shape inference does not follow; `rank` has no known length."""
    return [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Cast", ["sizes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["floats"], ["whole"], to=TensorProto.INT64),
        helper.make_node("NonZero", ["whole"], ["places"]),
        helper.make_node("Squeeze", ["places"], ["flat"]),
        helper.make_node("Gather", ["whole", "flat"], ["rank"]),
        helper.make_node("Reshape", ["z", *shape], ["y"]),
    ]


@pytest.mark.parametrize("shape", ["whole", "rank"])
def test_shapes_that_inference_does_not_find_are_measured(tmp_path: Path, shape: str) -> None:
    square = np.eye(4, dtype=np.float32)
    given = model(unknown_sizes(shape), weights=[("w", square)], width=4)
    given.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"]))
    proto = adopted(tmp_path, given, task="reconstruct")
    assert {each.name: each.dims for each in graph_of(proto).outputs} == {
        "score": (None, 1), "error_map": (None, 4), "reconstruction": (None, 4)
    }  # fmt: skip
    assert float(onnxruntime_run(proto)(ROWS)["score"].max()) == 0


def test_sizes_that_depend_on_the_items_are_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["columns"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["columns", "one"], ["last"]),
        helper.make_node("Slice", ["x", "first", "last", "axis"], ["y"]),
    ]
    weights = [(name, np.array([value])) for name, value in (("one", 1), ("first", 0), ("axis", 1))]
    given = model(nodes, weights=weights)
    given.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "n"]))
    with pytest.raises(ExportError, match="only the batch may vary"):
        adopted(tmp_path, given)


def test_a_batch_that_is_frozen_inside_is_called_so(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "pair"], ["z"]), helper.make_node("MatMul", ["z", "w"], ["y"])]
    onnx.save(model(nodes, weights=[("w", WEIGHT), ("pair", np.array([2, 4]))]), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=r"it runs on a batch of 2 and not on one of 8: a batch size is frozen inside, which"):
        check_in_sandbox(tmp_path / "m.onnx")


def test_float16_is_to_be_exported_as_float32(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="export it again as float32"):
        adopted(tmp_path, model([product()], dtype=TensorProto.FLOAT16, weights=[("w", WEIGHT.astype(np.float16))]))


@pytest.mark.parametrize(
    "spec", [TensorInput(name="foo", item_shape=(4,)), TensorInput(name="x", item_shape=(7,)),
             TensorInput(name="x", dtype="float64", item_shape=(4,))]
)  # fmt: skip
def test_an_input_description_of_another_tensor_is_refused(tmp_path: Path, spec: TensorInput) -> None:
    with pytest.raises(ExportError, match=r"takes x, float32\[4\], and by --input it is .*; leave out --input, or fix it"):
        adopted(tmp_path, model([product()]), spec)
    adopted(tmp_path, model([product()]), TensorInput(name="x", item_shape=(4,)))


def transposed() -> onnx.ModelProto:
    """A grouped ConvTranspose with uneven padding, which neither onnx's evaluator nor torch does."""
    nodes = [
        helper.make_node("Reshape", ["x", "map"], ["m"]),
        helper.make_node("ConvTranspose", ["m", "kernel"], ["wide"], group=2, pads=[0, 0, 1, 0]),
        helper.make_node("Flatten", ["wide"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    rng = np.random.default_rng(2)
    kernel, last = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 2, 2, 2), (8, 2)))
    return model(nodes, weights=[("map", np.array([0, 4, 1, 1])), ("kernel", kernel), ("w", last)])


@pytest.mark.parametrize("shape", [[0, 2, 1, 1], [0, 1, 1, 2], [0, 1, 2]])
def test_classes_with_sizes_of_one_around_them_are_flattened(tmp_path: Path, shape: list[int]) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Reshape", ["z", "map"], ["y"])]
    given = model(nodes, weights=[("w", WEIGHT), ("map", np.array(shape))])
    given.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", *shape[1:]]))
    np.testing.assert_allclose(probabilities(adopted(tmp_path, given)), softmax(ROWS @ WEIGHT), rtol=1e-5)


def test_a_map_of_classes_is_not_flattened(tmp_path: Path) -> None:
    given = model([helper.make_node("Reshape", ["x", "map"], ["y"])], weights=[("map", np.array([0, 2, 2]))])
    given.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, 2]))
    with pytest.raises(ExportError, match=r"y is \[2, 2, 2\] for a batch of 2; a classifier returns \[batch, classes\]"):
        adopted(tmp_path, given)


def test_what_the_evaluator_cannot_run_is_compared_with_an_unoptimised_runtime(tmp_path: Path) -> None:
    proto = adopted(tmp_path, transposed())
    with pytest.raises(ExportError, match="does not run on the reference evaluator"):
        reference_run(proto)(ROWS)
    reference = reference_of(proto, ROWS)
    assert reference.name.startswith("unoptimised ONNX Runtime")
    found: NDArray[Any] = reference.run(ROWS)["probabilities"]
    np.testing.assert_allclose(found, probabilities(proto), rtol=1e-5)


def test_a_graph_that_nothing_runs_is_refused_in_the_evaluators_words(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["r"]), helper.make_node("Slice", ["r", "a", "b", "c"], ["y"])]
    constants = [("shape", np.array([-1, 7])), ("a", np.array([0])), ("b", np.array([2])), ("c", np.array([1]))]
    proto = model(nodes, weights=constants)
    with pytest.raises(ExportError, match="does not run on the reference evaluator"):
        reference_of(proto, ROWS)

"""engines/joint.py: models with one front end run as one graph, with the same answers and without doing it twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.joint import JointEngine, have_one_front_end, open_joint
from avizor_inference.engines.joint_graph import join_graphs
from avizor_inference.errors import EngineUnavailable, InvalidInput
from avizor_inference.repository.models import ModelRepository, ModelVersion

OUTPUTS = ["kinds/probabilities", "normal/score", "normal/embedding"]


@pytest.fixture
def versions(models: Path) -> list[ModelVersion]:
    repository = ModelRepository(models)
    return [repository.version(name) for name in ("kinds", "normal")]


@pytest.fixture
def joint(versions: list[ModelVersion]) -> JointEngine:
    joint = open_joint(versions)
    assert joint is not None
    return joint


def sounds(versions: list[ModelVersion], batch: int) -> dict[str, np.ndarray]:
    tensor = versions[0].manifest.input.tensor()
    return {tensor.name: np.random.default_rng(3).standard_normal((batch, *tensor.item_shape)).astype("float32")}


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_answers_are_those_of_each_model_alone(
    joint: JointEngine, versions: list[ModelVersion], models: Path, batch: int
) -> None:
    rows = sounds(versions, batch)
    answers = joint.infer(InferRequest("kinds+normal", rows, OUTPUTS))
    assert list(answers) == OUTPUTS
    with EmbeddedEngine(models, device="cpu", intra_op_threads=1) as engine:
        for name, answer in answers.items():
            model, output = name.split("/")
            np.testing.assert_array_equal(answer, engine.infer(InferRequest(model, rows, [output]))[output])


def test_the_front_end_is_computed_once(versions: list[ModelVersion], tmp_path: Path) -> None:
    files = {version.name: version.model_path for version in versions}
    joined = join_graphs(files)
    assert joined is not None
    nodes = {name: len(optimised(file.read_bytes(), tmp_path)) for name, file in files.items()}
    together = optimised(joined.SerializeToString(), tmp_path)
    front_end = [node for node in optimised(files["normal"].read_bytes(), tmp_path) if "network" not in str(node.input)]
    assert len(front_end) > 5
    assert len(together) <= sum(nodes.values()) - 5
    assert [node.op_type for node in together].count("Log") == 1


def optimised(model: bytes, folder: Path) -> list[onnx.NodeProto]:
    """Return the nodes that ONNX Runtime runs."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(onnx.load(folder / "optimised.onnx").graph.node)


def test_a_wrong_request_and_a_closed_engine_are_named(joint: JointEngine, versions: list[ModelVersion]) -> None:
    with pytest.raises(InvalidInput, match=r"model 'kinds\+normal' has no input 'x'"):
        joint.infer(InferRequest("kinds+normal", {"x": np.zeros((1, 4), "float32")}, OUTPUTS))
    assert joint.ready()
    joint.close()
    assert not joint.ready()
    with pytest.raises(EngineUnavailable, match="closed"):
        joint.submit(InferRequest("kinds+normal", sounds(versions, 1), OUTPUTS))


def test_only_models_of_the_same_items_and_front_end_are_joined(models: Path, versions: list[ModelVersion]) -> None:
    assert have_one_front_end(versions)
    repository = ModelRepository(models)
    digits, transfers = repository.version("digits"), repository.version("transfers")
    assert not have_one_front_end([versions[0], digits])
    assert not have_one_front_end([transfers, transfers]) or transfers.manifest.front_end_digest


def test_weights_are_shared_only_if_type_shape_and_bytes_are_equal(tmp_path: Path) -> None:
    weights = {
        "a": np.array([[1, 2], [3, 4]], "float32"),
        "b": np.array([[1, 2], [3, 4]], "float32"),
        "c": np.array([[1, 2, 3, 4]], "float32"),
    }
    files = {name: product(tmp_path / f"{name}.onnx", values) for name, values in weights.items()}
    joined = join_graphs({name: files[name] for name in ("a", "b")})
    assert joined is not None
    assert [tensor.name for tensor in joined.graph.initializer] == ["a/w"]
    joined = join_graphs(files)
    assert joined is not None
    assert [tensor.name for tensor in joined.graph.initializer] == ["a/w", "c/w"]


def test_graphs_that_cannot_be_joined_by_their_names_are_left_alone(tmp_path: Path) -> None:
    plain = product(tmp_path / "plain.onnx", np.array([[1]], "float32"))
    newer = product(tmp_path / "newer.onnx", np.array([[1]], "float32"), opset=19)
    nested = onnx.load(plain)
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["w"], ["y2"])], "branch", [], [onnx.helper.make_tensor_value_info("y2", 1, None)]
    )
    nested.graph.node.append(onnx.helper.make_node("If", ["yes"], ["y3"], then_branch=branch, else_branch=branch))
    onnx.save(nested, tmp_path / "nested.onnx")
    assert join_graphs({"a": plain, "b": plain}) is not None
    assert join_graphs({"a": plain, "b": newer}) is None
    assert join_graphs({"a": plain, "b": tmp_path / "nested.onnx"}) is None


def test_inputs_that_a_node_leaves_out_stay_left_out(tmp_path: Path) -> None:
    model = onnx.load(product(tmp_path / "product.onnx", np.array([[1, 2], [3, 4]], "float32")))
    model.graph.node[0].output[0] = "z"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(3, "float32"), "most"))
    model.graph.node.append(onnx.helper.make_node("Clip", ["z", "", "most"], ["y"]))
    onnx.save(model, tmp_path / "clipped.onnx")
    joined = join_graphs(dict.fromkeys(("a", "b"), tmp_path / "clipped.onnx"))
    assert joined is not None
    session = ort.InferenceSession(joined.SerializeToString(), providers=["CPUExecutionProvider"])
    for answer in session.run(["a/y", "b/y"], {"x": np.array([[1, 1]], "float32")}):
        np.testing.assert_array_equal(answer, [[3, 3]])


def product(path: Path, weights: np.ndarray, opset: int = 18) -> Path:
    """Write a model that multiplies its input with a matrix."""
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [onnx.helper.make_tensor_value_info("x", 1, ["batch", weights.shape[0]])],
        [onnx.helper.make_tensor_value_info("y", 1, ["batch", weights.shape[1]])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10), path)
    return path

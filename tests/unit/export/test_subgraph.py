"""precision/subgraph.py: the network cut out of a graph and put back: front end and error computation are never touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from avizor_export.graph.to_onnx import check_proto
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.parity.references import reference_run
from avizor_export.precision.float16 import emulate_float16, to_float16
from avizor_export.precision.int8 import quantise
from avizor_export.precision.subgraph import extract_subgraph, replace_subgraph
from avizor_export.triton_config.settings import Target
from avizor_inference.errors import ExportError
from avizor_inference.repository.onnx_graph import graph_of

RNG = np.random.default_rng(0)
ITEMS = RNG.normal(3, 2, (64, 8)).astype(np.float32)


def constant(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array((RNG.standard_normal(shape) / 2).astype(np.float32), name)


def value(name: str, *dims: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *dims])


def on_runtime(proto: onnx.ModelProto) -> dict[str, Any]:
    return dict(onnxruntime_run(proto)(ITEMS))


def on_reference(proto: onnx.ModelProto) -> dict[str, Any]:
    return dict(reference_run(proto)(ITEMS))


def autoencoder() -> onnx.ModelProto:
    """A front end with a product of its own, two layers, and the error; one constant is used inside and outside."""
    nodes = [
        helper.make_node("MatMul", ["record", "front_end.turn"], ["turned"]),
        helper.make_node("Sub", ["turned", "shared"], ["features"]),
        helper.make_node("Gemm", ["features", "network.encoder.weight", "network.encoder.bias"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "network.decoder.weight"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "shared"], ["decoded"]),
        helper.make_node("Add", ["decoded", "network.decoder.bias"], ["reconstruction"]),
        helper.make_node("Sub", ["features", "reconstruction"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["error_map"]),
        helper.make_node("ReduceMean", ["error_map", "axis"], ["score"], keepdims=1),
    ]
    constants = [
        constant("front_end.turn", 8, 8),
        constant("shared", 8),
        constant("network.encoder.weight", 8, 4),
        constant("network.encoder.bias", 4),
        constant("network.decoder.weight", 4, 8),
        constant("network.decoder.bias", 8),
        numpy_helper.from_array(np.array([1]), "axis"),
    ]
    outputs = [
        value("score", 1),
        value("error_map", 8),
        value("reconstruction", 8),
        value("embedding", 4),
        value("features", 8),
    ]
    graph = helper.make_graph(nodes, "made", [value("record", 8)], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_the_network_is_what_lies_between_its_weights() -> None:
    part = extract_subgraph(autoencoder())
    assert [node.op_type for node in part.graph.node] == ["Gemm", "Relu", "MatMul", "Mul", "Add"]
    assert [each.name for each in part.graph.input] == ["features"]
    assert [each.name for each in part.graph.output] == ["embedding", "reconstruction"]
    onnx.checker.check_model(part, full_check=True)


def test_put_back_unchanged_it_gives_the_same() -> None:
    proto = autoencoder()
    whole = replace_subgraph(proto, extract_subgraph(proto))
    check_proto(whole)
    wanted, got = on_runtime(proto), on_runtime(whole)
    for name in wanted:
        np.testing.assert_array_equal(got[name], wanted[name])


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_front_end_and_error_stay_in_fp32(precision: str) -> None:
    proto = autoencoder()
    made, _ = quantise(proto, ITEMS, "auto") if precision == "int8" else to_float16(proto)
    check_proto(made)
    before, after = on_runtime(proto), on_runtime(made)
    np.testing.assert_array_equal(after["features"], before["features"])
    error = (after["features"] - after["reconstruction"]) ** 2
    np.testing.assert_array_equal(after["error_map"], error)  # of the features themselves, not of rounded ones
    assert 0 < np.abs(after["reconstruction"] - before["reconstruction"]).max() < 0.1 * np.abs(before["reconstruction"]).max()
    kept = {node.output[0]: node for node in made.graph.node}
    for node in proto.graph.node:
        if node.output[0] in ("turned", "features", "difference", "error_map", "score"):
            assert kept[node.output[0]] == node
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    assert constants["shared"].data_type == TensorProto.FLOAT


def test_int8_keeps_the_contract_and_runs_on_the_reference_evaluator() -> None:
    made, settings = quantise(autoencoder(), ITEMS, "auto")
    assert settings["calibration_items"] == 64
    weights = {each.name: each for each in made.graph.initializer if each.data_type == TensorProto.INT8}
    assert {"network.encoder.weight_quantized", "network.decoder.weight_quantized"} <= set(weights)
    assert {entry.domain for entry in made.opset_import} == {""}
    # The reference evaluator knows DequantizeLinear from opset 19 on.
    newer = onnx.version_converter.convert_version(made, 21)
    wanted, got = on_reference(newer), on_runtime(made)
    for name in wanted:
        # Both compute in integers; one that lies in the middle may be rounded either way.
        np.testing.assert_allclose(got[name], wanted[name], atol=0.05 * float(np.abs(wanted[name]).max()))


def tapped_before_its_relu() -> onnx.ModelProto:
    """A convolution and a linear layer, a ReLU between them; published as `activations` is the value before the ReLU."""
    nodes = [
        helper.make_node("Unsqueeze", ["record", "axis"], ["features"]),
        helper.make_node("Conv", ["features", "network.first.weight", "network.first.bias"], ["activations"]),
        helper.make_node("Relu", ["activations"], ["positive"]),
        helper.make_node("Flatten", ["positive"], ["flat"]),
        helper.make_node("Gemm", ["flat", "network.last.weight"], ["logits"]),
    ]
    constants = [
        constant("network.first.weight", 6, 8, 1),
        constant("network.first.bias", 6),
        constant("network.last.weight", 6, 3),
        numpy_helper.from_array(np.array([2]), "axis"),
    ]
    graph = helper.make_graph(nodes, "made", [value("record", 8)], [value("logits", 3), value("activations", 6, 1)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("target", ["auto", "tensorrt"])
def test_int8_keeps_the_negative_values_of_an_output_that_a_relu_takes(target: Target) -> None:
    proto = tapped_before_its_relu()
    made, _ = quantise(proto, ITEMS, target)
    check_proto(made)
    wanted, got = on_runtime(proto), on_runtime(made)
    for name in wanted:
        largest = float(np.abs(wanted[name]).max())
        np.testing.assert_allclose(got[name], wanted[name], atol=0.03 * largest)
    assert wanted["activations"].min() < -0.3 * np.abs(wanted["activations"]).max()  # there is something to lose


def test_int8_for_tensorrt_is_signed_and_symmetric_and_leaves_biases() -> None:
    made, settings = quantise(autoencoder(), ITEMS, "tensorrt")
    assert settings["activations"] == "int8, symmetric, per tensor"
    assert graph_of(made).beyond_int8 == ()
    assert graph_of(quantise(autoencoder(), ITEMS, "auto")[0]).beyond_int8 == ("int32", "uint8")
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    assert constants["network.encoder.weight_quantized"].data_type == TensorProto.INT8
    assert constants["network.encoder.bias"].data_type == TensorProto.FLOAT


def test_roundings_to_half_are_those_of_float16() -> None:
    proto = autoencoder()
    wanted, got = on_reference(to_float16(proto)[0]), on_runtime(emulate_float16(proto))
    for name in ("embedding", "reconstruction"):
        largest = float(np.abs(wanted[name]).max())
        np.testing.assert_allclose(got[name], wanted[name], atol=2 * float(np.spacing(np.float16(largest))))


def test_an_overflow_of_float16_is_seen_although_the_runtime_hides_it() -> None:
    proto = autoencoder()
    for tensor in proto.graph.initializer:
        if tensor.name == "network.encoder.weight":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(30_000), tensor.name))
    assert np.isfinite(on_runtime(proto)["score"]).all()
    assert not np.isfinite(on_reference(to_float16(proto)[0])["score"]).all()
    assert not np.isfinite(on_runtime(emulate_float16(proto))["score"]).all()


def test_a_graph_without_a_network_is_refused() -> None:
    proto = autoencoder()
    for tensor in proto.graph.initializer:
        tensor.name = tensor.name.replace("network.", "")
    for node in proto.graph.node:
        node.input[:] = [name.replace("network.", "") for name in node.input]
    with pytest.raises(ExportError, match="no weights of a network"):
        extract_subgraph(proto)

"""int8_sums.py, ort_session.py: int8 products are added up without loss, also where the processor's own sums have 16 bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from avizor_inference.engines import ort_session
from avizor_inference.engines.int8_sums import lacks_vnni
from avizor_inference.engines.ort_session import open_session

INPUTS = 64


def constant(name: str, value: object, dtype: type) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


def graph(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None]) for name in ("x", "y"))
    model = helper.make_model(
        helper.make_graph(nodes, "graph", [x], [y], constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def linear_layer() -> bytes:
    """x [batch, 64] -> y [batch, 8], its sum: uint8 times int8 as export writes it, with the largest weights there are."""
    constants = [
        constant("scale", 1.0, np.float32),
        constant("x_zero", 0, np.uint8),
        constant("w", np.full((INPUTS, 8), 127), np.int8),
        constant("w_scale", 1 / 127, np.float32),
        constant("w_zero", 0, np.int8),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "x_zero"], ["x8"]),
        helper.make_node("DequantizeLinear", ["x8", "scale", "x_zero"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wf"]),
        helper.make_node("MatMul", ["xf", "wf"], ["y"]),
    ]
    return graph(nodes, constants)


def signed_operator() -> bytes:
    """x [batch, 64] -> y [batch, 8], its sum over 64, by the operator that files have which came quantised: int8 times int8."""
    constants = [
        constant("scale", 1.0, np.float32),
        constant("zero", 0, np.int8),
        constant("w", np.full((INPUTS, 8), 127), np.int8),
        constant("w_scale", 1 / 127 / INPUTS, np.float32),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x8"]),
        helper.make_node("QLinearMatMul", ["x8", "scale", "zero", "w", "w_scale", "zero", "scale", "zero"], ["y8"]),
        helper.make_node("DequantizeLinear", ["y8", "scale", "zero"], ["y"]),
    ]
    return graph(nodes, constants)


@pytest.fixture(params=["this processor", "one without VNNI"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "this processor":
        monkeypatch.setattr(ort_session, "sums_saturate", lambda: True)


@pytest.mark.usefixtures("processor")
def test_large_weights_times_large_values_are_not_cut_off() -> None:
    x = np.full((3, INPUTS), 255, np.float32)
    (y,) = open_session(linear_layer(), "a layer").run(None, {"x": x})
    np.testing.assert_allclose(y, np.full((3, 8), 255 * INPUTS), rtol=1e-5)


@pytest.mark.usefixtures("processor")
def test_a_file_whose_operators_take_no_other_way_runs() -> None:
    x = np.full((3, INPUTS), 100, np.float32)
    (y,) = open_session(signed_operator(), "a layer").run(None, {"x": x})
    np.testing.assert_array_equal(y, np.full((3, 8), 100))


@pytest.mark.parametrize(
    ("flags", "lacks"),
    [
        ("fpu sse2 avx2 fma", True),
        ("fpu avx2 avx512f avx512vl", True),
        ("fpu avx2 avx512f avx512_vnni", False),
        ("fpu avx2 avx_vnni", False),
        ("fpu avx2 avx512f amx_int8", False),
    ],
)
def test_vnni_is_known_by_its_flags(flags: str, lacks: bool) -> None:
    first = f"processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: {flags}\nbugs\t\t: avx_vnni\n\n"
    assert lacks_vnni(first * 2) == lacks


def test_a_processor_of_which_nothing_is_known_may_cut_off() -> None:
    assert lacks_vnni("")

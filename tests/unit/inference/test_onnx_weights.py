"""The outside of an ONNX file is read without its weights."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from avizor_inference.errors import VersionRefused
from avizor_inference.repository.onnx_graph import graph_of, read_graph
from avizor_inference.repository.onnx_weights import load_without_weights


def model(*weights: TensorProto, zero: int = 0) -> onnx.ModelProto:
    """A model with these initializers, one of them quantised with this zero point."""
    constants = [*weights, numpy_helper.from_array(np.full(3, zero, np.int8), "zero")]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy")
    scale = numpy_helper.from_array(np.ones(3, np.float32), "scale")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "graph", [x], [y], [*constants, scale])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def typed(count: int) -> TensorProto:
    """A tensor whose numbers are in a field of their type."""
    return helper.make_tensor("typed", TensorProto.FLOAT, [count], np.ones(count, np.float32))


def raw(count: int) -> TensorProto:
    return numpy_helper.from_array(np.ones(count, np.float32), "raw")


@pytest.mark.parametrize("zero", [0, 3])
def test_the_outside_is_the_same(tmp_path: Path, zero: int) -> None:
    whole = model(raw(200_000), typed(200_000), raw(10), zero=zero)
    onnx.save(whole, path := tmp_path / "model.onnx")
    assert read_graph(path) == graph_of(whole)
    assert read_graph(path).beyond_int8 == (() if zero == 0 else ("int8 with a zero point",))
    loaded = load_without_weights(path)
    assert [tensor.name for tensor in loaded.graph.initializer] == ["raw", "typed", "raw", "zero", "scale"]
    assert [list(tensor.dims) for tensor in loaded.graph.initializer[:2]] == [[200_000], [200_000]]
    assert loaded.ByteSize() < 1000


def test_weights_that_are_in_other_files_are_seen(tmp_path: Path) -> None:
    onnx.save(model(raw(200_000)), path := tmp_path / "model.onnx", save_as_external_data=True)
    assert read_graph(path).external_data


def test_memory_does_not_grow_with_the_weights(tmp_path: Path) -> None:
    onnx.save(model(raw(10_000_000), typed(200_000)), path := tmp_path / "model.onnx")
    tracemalloc.start()
    try:
        read_graph(path)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


def test_a_file_that_was_cut_off_anywhere_is_refused_or_read_as_onnx_reads_it(tmp_path: Path) -> None:
    content = model(raw(70_000)).SerializeToString()
    path = tmp_path / "model.onnx"
    for size in (*range(60), *range(60, len(content), 4099), *range(len(content) - 60, len(content))):
        path.write_bytes(content[:size])
        try:
            expected = graph_of(onnx.load(path, load_external_data=False))
        except Exception:
            with pytest.raises(VersionRefused):
                read_graph(path)
        else:
            assert read_graph(path) == expected


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_read_as_onnx_reads_it(tmp_path: Path, seed: int) -> None:
    content = bytearray(model(raw(70_000)).SerializeToString())
    random = np.random.default_rng(seed)
    for place in random.integers(0, len(content), 3).tolist() + random.integers(0, 60, 1).tolist():
        content[place] = int(random.integers(256))
    (path := tmp_path / "model.onnx").write_bytes(content)
    try:
        expected = graph_of(onnx.load(path, load_external_data=False))
    except Exception:
        with pytest.raises(VersionRefused):
            read_graph(path)
    else:
        assert read_graph(path) == expected

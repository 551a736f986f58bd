"""description/computed_sizes.py: the sizes of a batch of a million items are found without the memory of a million items."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from avizor_export.description.targets import layers_of_file


@contextmanager
def more_memory_than_now(number_of_bytes: int) -> Iterator[None]:
    """Let this process allocate so much more, and raise MemoryError beyond."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + number_of_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_a_batch_that_is_flattened_as_a_whole_takes_little_memory(tmp_path: Path) -> None:
    """As torch writes as_strided, for instance in a ConvNeXt."""
    nodes = [
        helper.make_node("Reshape", ["x", "all"], ["flat"]),
        helper.make_node("Gather", ["flat", "places"], ["picked"]),
        helper.make_node("Gemm", ["picked", "w"], ["y"], transB=1),
    ]
    constants = [
        numpy_helper.from_array(np.array([-1]), "all"),
        numpy_helper.from_array(np.arange(12).reshape(2, 6), "places"),
        numpy_helper.from_array(np.ones((3, 6), np.float32), "w"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in (("x", 256), ("y", 3)))
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "flat.onnx")
    with more_memory_than_now(2 << 30):
        layers = layers_of_file(tmp_path / "flat.onnx")
    assert [(layer.kind, layer.parameters) for layer in layers] == [("linear", 18)]

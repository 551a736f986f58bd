"""Write versions of a model by hand, whose outputs tell which version has answered."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from avizor_inference.arrays import Array
from avizor_inference.repository.probe import Probe
from support.manifests import manifest_fields

ITEMS = np.arange(8, dtype=np.float32).reshape(4, 2)

_CONFIG = """
name: "NAME"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "input", data_type: TYPE_FP32, dims: [ 2 ] } ]
output [ { name: "embedding", data_type: TYPE_FP32, dims: [ 1 ] } ]
instance_group [ { kind: KIND_CPU } ]
"""


def write_version(models: Path, name: str, version: int, *, probe_of: float | None = None) -> Path:
    """Publish a version whose only output is its own number for every item, by one rename; return its folder.

    Its input is float32[batch, 2]. probe_of: the number that its probe items promise, if it is another one.
    """
    folder, staged = models / name / str(version), models / f".staged-{name}-{version}"
    staged.mkdir(parents=True)
    folder.parent.mkdir(exist_ok=True)
    graph = _graph(float(version)).SerializeToString()
    (staged / "model.onnx").write_bytes(graph)
    promised = np.full((len(ITEMS), 1), version if probe_of is None else probe_of, np.float32)
    manifest = manifest_fields(
        name=name,
        version=version,
        input={"modality": "tensor", "dtype": "float32", "item_shape": [2]},
        outputs=[{"name": "embedding", "dtype": "float32", "item_shape": [1]}],
        model_sha256=hashlib.sha256(graph).hexdigest(),
        model_bytes=len(graph),
        probe_sha256=Probe(ITEMS, {"embedding": promised}).write(staged / "probe.npz"),
    )
    (staged / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    config = folder.parent / "config.pbtxt"
    if not config.exists():
        config.write_text(_CONFIG.replace("NAME", name), encoding="utf-8")
    staged.rename(folder)
    return folder


def remove_version(models: Path, name: str, version: int) -> None:
    """Remove a version."""
    shutil.rmtree(models / name / str(version))


def rows(count: int = 1) -> Array:
    """Return rows of the model's input."""
    return np.ones((count, 2), np.float32)


def _graph(number: float) -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceSum", ["input", "axis"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "number"], ["embedding"]),
    ]
    constants = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("number", TensorProto.FLOAT, [], [number]),
    ]
    graph = helper.make_graph(
        nodes,
        "versioned",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 1])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)

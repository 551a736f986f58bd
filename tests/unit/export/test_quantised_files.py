"""graph/quantised.py and the adoption of files that came quantised to int8."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from avizor_export.exporter import adopt_model
from avizor_export.graph.quantised import is_quantised, without_rounding
from avizor_export.networks.onnx_adoption import adopt, own_input
from avizor_export.networks.onnx_files import in_contract_version, load_onnx
from avizor_export.parity.compare import compare_runs, onnxruntime_run
from avizor_export.parity.references import reference_of
from avizor_export.request import ExportRequest
from avizor_inference.checks.check_version import check_model
from avizor_inference.errors import ExportError, ParityError
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelRepository

WIDTHS = (8, 12, 4, 12, 8)
ROWS: NDArray[np.float32] = np.random.default_rng(1).standard_normal((64, 8)).astype(np.float32)


class Rows(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self._rows: Iterator[dict[str, Any]] = iter([{"x": ROWS}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rows, None)


def autoencoder() -> onnx.ModelProto:
    """x [batch, 8] -> y [batch, 8], in layers of products with a ReLU between them."""
    rng, nodes, weights = np.random.default_rng(0), [], []
    for layer, (taken, given) in enumerate(pairwise(WIDTHS)):
        weights.append(numpy_helper.from_array((rng.standard_normal((taken, given)) / 2).astype(np.float32), f"w{layer}"))
        last = "y" if layer == len(WIDTHS) - 2 else f"h{layer}"
        product = last if last == "y" else f"p{layer}"
        nodes.append(helper.make_node("MatMul", [f"h{layer - 1}" if layer else "x", f"w{layer}"], [product]))
        if last != "y":
            nodes.append(helper.make_node("Relu", [product], [last]))
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", tensors[:1], tensors[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one autoencoder: plain.onnx, qdq.onnx, uint8.onnx, tensorrt.onnx, dynamic.onnx, operators.onnx."""
    folder = tmp_path_factory.mktemp("quantised")
    plain = folder / "plain.onnx"
    onnx.save(autoencoder(), plain)

    def quantise(name: str, activations: QuantType, form: QuantFormat = QuantFormat.QDQ, **options: Any) -> None:
        quantize_static(
            plain, folder / name, Rows(), quant_format=form, activation_type=activations, weight_type=QuantType.QInt8,
            extra_options=options,
        )  # fmt: skip

    quantise("qdq.onnx", QuantType.QInt8)
    quantise("uint8.onnx", QuantType.QUInt8)
    quantise("tensorrt.onnx", QuantType.QInt8, ActivationSymmetric=True)
    quantise("operators.onnx", QuantType.QInt8, QuantFormat.QOperator)
    quantize_dynamic(plain, folder / "dynamic.onnx")
    return folder


def request(path: Path, **changes: Any) -> ExportRequest:
    return ExportRequest("ae", "reconstruct", own_input(path), **changes)


@pytest.mark.parametrize("name", ["qdq.onnx", "uint8.onnx", "operators.onnx"])
def test_a_quantised_file_is_published_as_int8_and_calibrated_so(folder: Path, tmp_path: Path, name: str) -> None:
    normal = [NormalRecording("a", row[None]) for row in ROWS]
    version = adopt_model(folder / name, request(folder / name, real_items=ROWS, normal=normal), tmp_path)
    manifest, (calibration,) = version.manifest, version.calibrations()
    assert (manifest.precision, manifest.precision_of_file, manifest.variant) == ("int8", True, None)
    assert calibration.precision == "int8"
    assert check_model(ModelRepository(tmp_path), "ae") == []
    card = (version.folder / "card.md").read_text(encoding="utf-8")
    assert "The file came in int8." in card
    assert "its own rounding changes the root of score" in card


def test_a_file_for_tensorrt_is_configured_as_int8_there(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "tensorrt.onnx"
    adopt_model(path, request(path, serving={"target": "tensorrt"}), tmp_path)
    assert 'key: "precision_mode", value: "INT8"' in (tmp_path / "ae" / "config.pbtxt").read_text(encoding="utf-8")
    with pytest.raises(ExportError, match=r"TensorRT takes signed int8 about zero, and model\.onnx has uint8; .* Activation"):
        adopt_model(folder / "uint8.onnx", request(path, serving={"target": "tensorrt"}), tmp_path / "other")
    adopt_model(path, request(path, serving={"target": "gpu"}), tmp_path / "cuda")
    assert "ONNX Runtime computes int8 networks in float32 on CUDA" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


def proven(path: Path, change: float) -> None:
    """Compare the adopted file with itself, of which one weight is larger by a share `change`."""
    adopted = adopt(path, None, "reconstruct")
    spec, proto = adopted.input, adopted.proto
    reference = reference_of(proto, ROWS[:2])
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("w3_scale"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1 + change), tensor.name))
    compare_runs(reference.run, onnxruntime_run(proto), spec, ROWS, reference.name)


def test_a_difference_below_the_files_own_rounding_is_allowed_and_a_larger_one_refused(folder: Path) -> None:
    proven(folder / "qdq.onnx", 0.0)
    proven(folder / "qdq.onnx", 2e-4)
    with pytest.raises(ParityError, match=r"reconstruction by up to .* for its own rounding\)"):
        proven(folder / "qdq.onnx", 0.3)
    plain, rounded = (onnxruntime_run(adopt(folder / f"{name}.onnx", None, "reconstruct").proto) for name in ("plain", "qdq"))
    with pytest.raises(ParityError):  # of a file that rounds nothing, less is allowed
        compare_runs(plain, rounded, own_input(folder / "plain.onnx"), ROWS, "plain")


def test_without_its_rounding_the_graph_is_clipped_as_before(folder: Path) -> None:
    """The quantiser left out the ReLUs: the ranges begin at 0. So the graph is near the network that was quantised."""
    assert "Relu" not in {node.op_type for node in onnx.load(folder / "qdq.onnx").graph.node}
    plain, rounded = onnx.load(folder / "plain.onnx"), onnx.load(folder / "qdq.onnx")
    expected, found, in_steps = (
        onnxruntime_run(proto)(ROWS)["y"].astype(np.float64) for proto in (plain, without_rounding(rounded), rounded)
    )
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert 0 < np.abs(found - in_steps).max() < 0.1 * np.abs(expected).max()


def test_a_file_that_only_stores_weights_in_int8_computes_in_float32(folder: Path) -> None:
    stored = onnx.load(folder / "plain.onnx")
    weight = stored.graph.initializer[0]
    values = np.round(numpy_helper.to_array(weight) * 40).astype(np.int8)
    scale = np.array(1 / 40, np.float32)
    stored.graph.initializer.extend([numpy_helper.from_array(values, "q"), numpy_helper.from_array(scale, "s")])
    stored.graph.initializer.remove(weight)
    stored.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "s"], [weight.name]))
    assert not is_quantised(stored.graph)
    assert not is_quantised(onnx.load(folder / "plain.onnx").graph)
    assert is_quantised(onnx.load(folder / "qdq.onnx").graph)
    assert is_quantised(onnx.load(folder / "operators.onnx").graph)


def test_a_range_of_the_whole_batch_is_refused_with_the_quantiser_to_use(folder: Path, tmp_path: Path) -> None:
    path = folder / "dynamic.onnx"
    with pytest.raises(ExportError, match=r"takes the range of a whole batch, .*; quantise it statically"):
        adopt_model(path, request(path), tmp_path)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_another_precision_of_a_quantised_file_is_refused(folder: Path, tmp_path: Path, precision: Any) -> None:
    path = folder / "qdq.onnx"
    with pytest.raises(ExportError, match=f"came quantised to int8; leave out --{precision}, or export the float32 network"):
        adopt_model(path, request(path, precision=precision), tmp_path)


def test_operators_of_onnx_runtime_alone_are_refused_with_the_format_to_use(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "operators.onnx")
    model.graph.node[0].domain = "com.microsoft"
    model.graph.node[0].op_type = "QGemm"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=r"com\.microsoft \(QGemm\); .* quantize_static\(.*QuantFormat\.QDQ"):
        in_contract_version(load_onnx(tmp_path / "m.onnx"), tmp_path / "m.onnx")


def test_a_manifest_does_not_call_fp32_the_precision_of_a_quantised_file(folder: Path, tmp_path: Path) -> None:
    version = adopt_model(folder / "plain.onnx", request(folder / "plain.onnx"), tmp_path)
    fields = version.manifest.model_dump(mode="json")
    with pytest.raises(ValueError, match="precision_of_file is for another precision than fp32"):
        Manifest.model_validate_json(json.dumps(fields | {"precision_of_file": True}))
    with pytest.raises(ValueError, match="precision int8 without a report on the variant"):
        Manifest.model_validate_json(json.dumps(fields | {"precision": "int8"}))

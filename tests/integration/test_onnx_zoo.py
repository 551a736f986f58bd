"""The files that the onnx package ships, with the outputs that are stored beside them: frozen batches, opsets 6 to 9, IR 3.

The light models have the graphs of AlexNet, ResNet-50 and others. Their weights are constants that the graph makes.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from avizor_export.exporter import adopt_model
from avizor_export.networks.onnx_adoption import adopt
from avizor_export.networks.onnx_input import tensor_input
from avizor_export.networks.onnx_network import network_as_it_is, network_with_free_batch
from avizor_export.networks.onnx_opening import open_onnx
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.request import ExportRequest
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine

_PACKAGE = find_spec("onnx")
assert _PACKAGE
DATA = Path(str(_PACKAGE.origin)).parent / "backend" / "test" / "data"
LIGHT = sorted(path.stem for path in (DATA / "light").glob("light_*.onnx"))
CONVERTED = sorted(path.name for path in (DATA / "pytorch-converted").glob("test_*"))
# Not run: embeddings of four words, where items are drawn from 0 to 255; slopes that ONNX Runtime does not take; a loss, with
# weights of their own for the rows.
LEFT_OUT = {"test_Embedding", "test_Embedding_sparse", "test_PoissonNLLLLoss_no_reduce"} | {
    f"test_PReLU_{dimensions}d_multiparam" for dimensions in (1, 2, 3)
}


def stored(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))
    return array


def item() -> NDArray[np.float32]:
    """The item with which the outputs of the light models were computed: onnx.backend.test.runner, generate_dummy_data."""
    shape = (1, 3, 224, 224)
    ramp: NDArray[np.float32] = (np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32)
    return ramp


def probabilities(name: str) -> NDArray[Any]:
    """What is stored for a light model; densenet121 alone ends in logits."""
    values = stored(DATA / "light" / f"{name}_output_0.pb").reshape(1, -1)
    if name != "light_densenet121":
        return values
    powers = np.exp(values - values.max())
    shares: NDArray[Any] = powers / powers.sum()
    return shares


def test_the_package_has_the_light_models() -> None:
    assert len(LIGHT) == 9
    assert len(CONVERTED) > 50


QUICK = ("light_squeezenet", "light_shufflenet")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in LIGHT])
def test_a_light_model_with_a_free_batch_returns_what_is_stored(name: str) -> None:
    proto = adopt(DATA / "light" / f"{name}.onnx", None, "classify", free_frozen_batch=True).proto
    batch = np.concatenate([item()[:, :, ::-1], item(), item() * 2])
    actual: NDArray[Any] = onnxruntime_run(proto)(batch)["probabilities"][1:2]
    np.testing.assert_allclose(actual, probabilities(name), rtol=1e-3, atol=1e-6)


@pytest.mark.slow  # the reference evaluator takes minutes for the larger ones
@pytest.mark.parametrize("name", QUICK)
def test_the_published_light_model_returns_what_is_stored(tmp_path: Path, name: str) -> None:
    path = DATA / "light" / f"{name}.onnx"
    spec = tensor_input(open_onnx(path).tensor, path)
    labels = [f"class {number}" for number in range(1000)]
    adopt_model(path, ExportRequest("zoo", "classify", spec, labels=labels), tmp_path, free_batch=True)
    with EmbeddedEngine(tmp_path) as engine:
        for batch in (1, 3):
            request = InferRequest("zoo", {spec.name: np.repeat(item(), batch, axis=0)}, ["probabilities"])
            actual = engine.infer(request)["probabilities"]
            np.testing.assert_allclose(actual, np.repeat(probabilities(name), batch, axis=0), rtol=1e-3, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CONVERTED) - LEFT_OUT))
def test_a_file_of_an_old_opset_returns_what_is_stored(name: str) -> None:
    path = DATA / "pytorch-converted" / name / "model.onnx"
    opened = open_onnx(path)
    spec = tensor_input(opened.tensor, path)
    network = network_with_free_batch(opened, spec) if opened.frozen else network_as_it_is(opened, spec)
    data = path.parent / "test_data_set_0"
    actual: NDArray[Any] = next(iter(onnxruntime_run(network)(stored(data / "input_0.pb")).values()))
    np.testing.assert_allclose(actual, stored(data / "output_0.pb"), rtol=1e-3, atol=1e-5)

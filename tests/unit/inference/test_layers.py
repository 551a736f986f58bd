"""explain/layers.py and explain/filter_axes.py: convolutions of a graph, their weights, and what the axes of a filter are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from support.sounds import SOUND

from avizor_export.precision.int8 import quantise
from avizor_export.triton_config.settings import TENSORRT
from avizor_inference.arrays import Array, Floats
from avizor_inference.errors import SettingsError
from avizor_inference.explain.filter_axes import FilterAxis, pictures_of
from avizor_inference.explain.layers import Convolution, Layers
from avizor_inference.items.input_spec import (
    AudioInput,
    ImageFrontEnd,
    ImageInput,
    LogMelFrontEnd,
    SignalInput,
    SpectrogramFrontEnd,
    WaveformFrontEnd,
)

RANDOM = np.random.default_rng(0)


def graph(nodes: list[onnx.NodeProto], stored: dict[str, Array]) -> onnx.ModelProto:
    """A graph from `x`, float32[batch, 1, 8, 8], to `y`."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    made = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(value, name) for name, value in stored.items()])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, items: Array) -> Array:
    (result,) = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": items})
    return np.asarray(result)


def normed() -> onnx.ModelProto:
    """A convolution without a bias, a cast that copies, and a batch norm."""
    norm = {
        "network.bn.weight": RANDOM.uniform(-2, 2, 5),
        "network.bn.bias": RANDOM.standard_normal(5),
        "network.bn.mean": RANDOM.standard_normal(5),
        "network.bn.var": RANDOM.uniform(0.1, 3, 5),
    }
    stored = {"network.conv.weight": RANDOM.standard_normal((5, 1, 3, 3)), **norm}
    nodes = [
        helper.make_node("Conv", ["x", "network.conv.weight"], ["c"]),
        helper.make_node("Identity", ["c"], ["d"]),
        helper.make_node("BatchNormalization", ["d", *norm], ["y"], epsilon=1e-3),
    ]
    return graph(nodes, {name: value.astype(np.float32) for name, value in stored.items()})


def test_folded_weights_compute_what_convolution_and_batch_norm_do_on_real_items() -> None:
    model, digits = normed(), (load_digits().images[:50, None] / 16).astype(np.float32)
    layer = Layers(model).convolution()
    assert layer is not None
    assert layer.batch_norm == "folded"
    alone = graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"])],
        {"w": layer.weights.astype(np.float32), "b": layer.bias.astype(np.float32)},
    )
    np.testing.assert_allclose(run(alone, digits), run(model, digits), atol=1e-5)


def test_the_batch_norm_is_left_out_when_asked() -> None:
    model = normed()
    layer = Layers(model).convolution(fold_batch_norm=False)
    assert layer is not None
    assert (layer.name, layer.batch_norm) == ("conv", "left out")
    np.testing.assert_array_equal(layer.weights, numpy_helper.to_array(model.graph.initializer[0]))


@pytest.mark.parametrize("target", ["cpu", TENSORRT])
def test_int8_weights_are_those_of_fp32_to_half_a_step(models: Path, target: Any) -> None:
    fp32 = onnx.load(models / "digits" / "1" / "model.onnx")
    int8, _ = quantise(fp32, RANDOM.integers(0, 256, (32, 32, 32, 1)).astype(np.uint8), target)
    assert Layers(int8).names() == Layers(fp32).names()
    for before, after in zip(Layers(fp32).convolutions(), Layers(int8).convolutions(), strict=True):
        steps = np.abs(before.weights).max(axis=(1, 2, 3)) / 127
        error = np.abs(after.weights - before.weights).max(axis=(1, 2, 3))
        assert (error <= 0.51 * steps).all()
        assert error.max() > 0


def test_the_first_convolution_is_the_network_s_and_not_the_front_end_s(models: Path) -> None:
    proto = onnx.load(models / "kinds" / "1" / "model.onnx")
    assert proto.graph.node[[node.op_type for node in proto.graph.node].index("Conv")].input[1].startswith("front_end")
    layers = Layers(proto)
    assert layers.names() == ("0", "4", "8", "12")
    first = layers.convolution()
    assert first is not None
    assert (first.name, first.weights.shape, first.batch_norm) == ("0", (4, 1, 3, 3), "none in the graph")


def test_a_batch_norm_that_export_folded_is_named() -> None:
    stored = {"network.a.weight": np.ones((2, 1, 3, 3), np.float32), "network.a.weight_bias": np.ones(2, np.float32)}
    layer = Layers(graph([helper.make_node("Conv", ["x", *stored], ["y"])], stored)).convolution()
    assert layer is not None
    assert (layer.name, layer.batch_norm) == ("a", "folded by export")


def test_an_unknown_name_lists_those_there(models: Path) -> None:
    layers = Layers(onnx.load(models / "kinds" / "1" / "model.onnx"))
    with pytest.raises(SettingsError, match=r"there is no convolution 'conv1'; those there are 0, 4, 8, 12$"):
        layers.convolution("conv1")


def test_files_from_elsewhere_have_their_own_names() -> None:
    stored = {"W": RANDOM.standard_normal((2, 1, 3, 3)).astype(np.float32)}
    model = graph([helper.make_node("Conv", ["x", "W"], ["y"])], stored)
    assert Layers(model).names() == ("W",)


def test_filters_of_a_transposed_convolution_have_a_map_each() -> None:
    weights = RANDOM.standard_normal((4, 3, 2, 2)).astype(np.float32)  # 4 inputs, 2 groups of 3 outputs
    node = helper.make_node("ConvTranspose", ["x", "network.up.weight"], ["y"], group=2)
    layer = Layers(graph([node], {"network.up.weight": weights})).convolution("up")
    assert layer is not None
    assert layer.weights.shape == (6, 2, 2, 2)
    np.testing.assert_array_equal(layer.weights[4, 1], weights[3, 1])  # the second group's second map, from its second input


def test_weights_of_quantised_operators_are_floats() -> None:
    whole = RANDOM.integers(-127, 128, (2, 1, 3, 3)).astype(np.int8)
    scale = np.array([0.5, 0.25], np.float32)
    step, zero = np.array(0.1, np.float32), np.array(0, np.uint8)
    bias = np.array([7, -3], np.int32)
    stored: dict[str, Array] = {"w": whole, "ws": scale, "wz": np.zeros(2, np.int8), "s": step, "z": zero, "b": bias}
    node = helper.make_node("QLinearConv", ["x", "s", "z", "w", "ws", "wz", "s", "z", "b"], ["y"])
    layer = Layers(graph([node], stored)).convolution()
    assert layer is not None
    np.testing.assert_allclose(layer.weights, whole * scale[:, None, None, None])
    np.testing.assert_allclose(layer.bias, bias * scale * step)


def layer_of(*shape: int, dilation: int = 1) -> Convolution:
    weights: Floats = RANDOM.standard_normal(shape)
    return Convolution("0", weights, np.zeros(shape[0]), dilations=(dilation,) * (len(shape) - 2))


def test_colours_are_red_green_blue_whatever_the_network_s_order() -> None:
    layer = layer_of(2, 3, 5, 5)
    for order in ("rgb", "bgr"):
        spec = ImageInput(height=8, width=8, channels=3, front_end=ImageFrontEnd(order=order))
        pictures = pictures_of(layer, spec, is_first=True)
        assert pictures.is_colour
        red = layer.weights[:, 0 if order == "rgb" else 2]
        np.testing.assert_array_equal(pictures.values[:, 0], red)
        assert pictures.x == FilterAxis("pixels", 5)
    assert not pictures_of(layer, spec, is_first=False).is_colour


@pytest.mark.parametrize("layout", ["NCFT", "NCTF"])
def test_axes_of_sound_are_bands_and_milliseconds(layout: Any) -> None:
    front_end = LogMelFrontEnd(n_fft=256, hop_length=80, n_mels=16, layout=layout)
    spec = SOUND.model_copy(update={"front_end": front_end})
    layer = layer_of(2, 1, 3, 5)
    pictures = pictures_of(layer, spec, is_first=True)
    bands, frames = (3, 5) if layout == "NCFT" else (5, 3)
    assert pictures.y == FilterAxis("mel bands", bands)
    assert pictures.x == FilterAxis("ms", frames * 10.0)
    assert pictures.values.shape == (2, 1, bands, frames)
    assert pictures.values[1, 0, 2, 1] == (layer.weights[1, 0, 2, 1] if layout == "NCFT" else layer.weights[1, 0, 1, 2])


def test_a_convolution_over_time_alone_shows_its_bands() -> None:
    front_end = SpectrogramFrontEnd(n_fft=16, hop_length=80, layout="NFT")
    spec = SOUND.model_copy(update={"front_end": front_end})
    pictures = pictures_of(layer_of(2, 9, 5, dilation=2), spec, is_first=True)
    assert pictures.values.shape == (2, 1, 9, 5)
    assert (pictures.y, pictures.x) == (FilterAxis("Hz", 9 * 500.0), FilterAxis("ms", 90.0))


def test_curves_are_over_milliseconds_or_samples() -> None:
    waveform = AudioInput(sample_rate=8000, window_samples=800, hop_samples=800, front_end=WaveformFrontEnd())
    assert pictures_of(layer_of(2, 1, 80), waveform, is_first=True).x == FilterAxis("ms", 10.0)
    signal = SignalInput(channels=2, window_samples=64, hop_samples=64, columns=("a", "b"))
    pictures = pictures_of(layer_of(2, 2, 9), signal, is_first=True)
    assert (pictures.y, pictures.x, pictures.channels) == (None, FilterAxis("samples", 9), ("a", "b"))
    with_rate = signal.model_copy(update={"sample_rate": 50.0})
    assert pictures_of(layer_of(2, 2, 9), with_rate, is_first=True).x == FilterAxis("ms", 180.0)

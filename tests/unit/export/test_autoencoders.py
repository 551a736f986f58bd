"""architectures/autoencoder.py and super_resolution.py.

Autoencoders and super-resolution by spec: mirror images, clear refusals, scores at the features' size.
"""

import itertools
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper
from torch import Tensor, nn

from avizor_export.architectures.catalogue import build, build_autoencoder
from avizor_export.description.cli import describe
from avizor_export.description.design_rules import warnings_for
from avizor_export.description.targets import layers_of_design
from avizor_export.exporter import adopt_model, export_model
from avizor_export.report import note_missing_taps
from avizor_export.request import ExportRequest
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import ImageInput, InputSpec, TensorInput
from avizor_inference.repository.models import ModelRepository

STRIDED = "conv16s2bn conv32s2bn conv64s2bn latent24"


Layer = TypeVar("Layer", bound=nn.Module)


def layers(network: nn.Module, kind: type[Layer]) -> list[Layer]:
    return [layer for layer in network.modules() if isinstance(layer, kind)]


@pytest.mark.parametrize(
    ("spec", "shape", "embedding"),
    [
        (STRIDED, (1, 64, 32), 24),
        ("conv8k4s2p1bn conv12s3 fc20bn drop0.1 latent5", (2, 12, 18), 5),
        ("conv8x2bn pool drop0.2 conv12 avgpool3s2p1 latentmap3", (3, 8, 16), 3 * 2 * 4),
        ("conv8 pool3 latent4", (1, 9, 12), 4),
        ("fc64 fc32 latent8", (30,), 8),
        ("fc16bn latent3", (1, 6, 5), 3),
        (STRIDED, (1, 60, 61), 24),  # no size that the strides divide
        ("conv8x2bn pool drop0.2 conv12s3 latentmap3", (3, 7, 16), 3 * 2 * 3),
        ("conv8s2k7bn conv12s4k9p4 fc20bn latent5", (2, 1001), 5),
        ("conv8x2bn pool3 avgpool3s2p1 latentmap3", (1, 40), 3 * 7),
        ("fc16 latent3", (2, 31), 3),
        ("latent2", (7,), 2),
    ],
)
def test_what_goes_in_comes_back_in_its_shape_through_the_latent_space(
    spec: str, shape: tuple[int, ...], embedding: int
) -> None:
    network = build_autoencoder(spec, shape).eval()
    items = torch.rand(3, *shape)
    assert network(items).shape == items.shape
    encoder = network.get_submodule("encoder")
    assert encoder(items).flatten(1).shape == (3, embedding)


def test_weights_fit_inputs_of_sizes_that_the_strides_do_not_divide() -> None:
    whole, odd = (build_autoencoder("conv4s2bn conv4s4k9p4 latentmap2", (1, length)).eval() for length in (1000, 997))
    odd.load_state_dict(whole.state_dict())
    signal = torch.rand(2, 1, 997)
    padded = torch.nn.functional.pad(signal, (0, 3))
    torch.testing.assert_close(odd(signal), whole(padded)[:, :, :997])


def test_the_decoder_is_the_mirror_image() -> None:
    network = build_autoencoder("conv16s2bn conv32k5s2 fc50 latent24", (3, 32, 32))
    down = [(layer.in_channels, layer.out_channels) for layer in layers(network, nn.Conv2d)]
    up = [(layer.out_channels, layer.in_channels) for layer in layers(network, nn.ConvTranspose2d)]
    assert up == down[::-1] == [(16, 32), (3, 16)]
    widths = [(layer.in_features, layer.out_features) for layer in layers(network, nn.Linear)]
    assert widths == [(32 * 8 * 8, 50), (50, 24), (24, 50), (50, 32 * 8 * 8)]
    assert not isinstance(list(network.get_submodule("decoder").children())[-1], nn.ReLU)


@pytest.mark.parametrize("word", ["conv4s2", "conv4k5s2", "conv4k4s2p1", "conv4s3", "conv4k5s4", "conv4k2s2p0"])
def test_a_transposed_convolution_makes_every_pixel_of_equally_many_terms(word: str) -> None:
    network = build_autoencoder(f"{word} latentmap4", (1, 48, 48))
    (layer,) = layers(network, nn.ConvTranspose2d)
    assert isinstance(layer, nn.ConvTranspose2d)
    with torch.no_grad():
        layer.weight.fill_(1)
        assert layer.bias is not None
        layer.bias.zero_()
        made = layer(torch.ones(1, 4, 48 // layer.stride[0], 48 // layer.stride[0]))[0, 0]
    margin = layer.kernel_size[0]
    assert made[margin:-margin, margin:-margin].unique().numel() == 1


@pytest.mark.parametrize(
    ("spec", "shape", "says"),
    [
        ("conv8k4s2 latent4", (1, 8, 8), "'conv8k4s2' does not make its map exactly 2 times smaller; write p1"),
        ("conv8k4s2p1x3bn latent4", (1, 8, 8), "write conv8k4s2p1bn conv8x2bn"),
        ("conv8p0 latent4", (1, 8, 8), "'conv8p0' does not keep the size of its map; write p1"),
        ("conv8k4 latent4", (1, 8, 8), "write an odd kernel"),
        ("conv8 pool2ceil latent4", (1, 8, 8), "no mirror image with `ceil`"),
        ("conv8 gap latent4", (1, 8, 8), "'gap' has no mirror image"),
        ("conv8 lrn latent4", (1, 8, 8), "'lrn' has no mirror image"),
        ("conv8 latent4 latent4", (1, 8, 8), "'latent4' has to be the last word"),
        ("fc8 latentmap4", (1, 8, 8), "'latentmap4' comes after 'fc8'"),
        ("fc8 conv8 latent4", (1, 8, 8), "'conv8' comes after 'fc8'"),
        ("conv8 latent4", (8,), "'conv8' takes maps, and the input is a row of 8 numbers"),
        ("latentmap4", (8,), "write latent8"),
        ("conv8 latent", (1, 8, 8), "at least 1 after 'latent'"),
        ("latent4z2", (8,), "no option 'z'"),
        ("conv8 fc3", (1, 8, 8), "ends in its latent space"),
        ("conv8 shuffle", (1, 8, 8), "at least 1 after 'shuffle'"),
        ("conv8 shuffle1", (1, 8, 8), "is not one of super-resolution"),
        ("conv8 pool shuffle2", (1, 8, 8), "'pool': super-resolution is made of conv and drop"),
        ("conv8s2 shuffle2", (1, 8, 8), "change the map's size"),
        ("conv8 shuffle2", (8,), "takes channels, height, width"),
    ],
)
def test_a_wrong_spec_is_refused_with_the_word_that_is_wrong(spec: str, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(ExportError, match=says):
        build_autoencoder(spec, shape)


def test_a_classifier_has_no_latent_space_and_takes_rows_as_well() -> None:
    with pytest.raises(ExportError, match="'latent4' has to be the last word"):
        build("conv8 latent4 fc10", 10, (1, 8, 8))
    with pytest.raises(ExportError, match="'conv8' takes maps"):
        build("conv8 fc3", 3, (6,))
    assert build("fc8 fc", 3, (6,))(torch.rand(2, 6)).shape == (2, 3)


def test_before_training_super_resolution_is_bicubic() -> None:
    image = torch.rand(2, 3, 6, 8)
    expected = nn.functional.interpolate(image, scale_factor=3.0, mode="bicubic")
    torch.testing.assert_close(build_autoencoder("conv8k5 conv8bn shuffle3", (3, 6, 8)).eval()(image), expected)


@pytest.mark.parametrize(
    ("spec", "item"),
    [
        ("conv4s2bn conv6k4s2p1bn fc12bn latent5", ImageInput(height=8, width=12, channels=1)),
        ("conv4bn pool conv6 latentmap3", ImageInput(height=8, width=12, channels=2)),
        ("fc8 latent2", TensorInput(name="features", item_shape=(6,))),
    ],
)
def test_exported_it_gives_score_map_reconstruction_and_latent_vector(tmp_path: Path, spec: str, item: InputSpec) -> None:
    torch.manual_seed(0)
    shape = (item.channels, item.height, item.width) if isinstance(item, ImageInput) else (6,)
    version = export_model(build_autoencoder(spec, shape), ExportRequest("m", "reconstruct", item), tmp_path)
    shapes = {output.name: output.item_shape for output in version.manifest.outputs}
    assert set(shapes) == {"score", "error_map", "reconstruction", "embedding"}
    assert shapes["error_map"] == shapes["reconstruction"] == shape


def enlarged(tmp_path: Path) -> Path:
    """A repository with `large`, which enlarges twice and adds a little."""
    torch.manual_seed(0)
    network = build_autoencoder("conv4 shuffle2", (2, 6, 10))
    nn.init.normal_(network.get_submodule("last").weight, std=0.1)  # type: ignore[arg-type]
    image = ImageInput(height=6, width=10, channels=2)
    export_model(network, ExportRequest("large", "reconstruct", image), tmp_path)
    return tmp_path


def test_a_larger_reconstruction_is_scored_by_the_means_of_its_blocks(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 6, 10, 2)).astype(np.uint8)
    with EmbeddedEngine(enlarged(tmp_path)) as engine:
        found = engine.infer(InferRequest("large", {"image": pixels}, ["score", "error_map", "reconstruction"]))
    meaning = {each.name: each.meaning for each in ModelRepository(tmp_path).version("large").manifest.outputs}
    assert meaning["error_map"].endswith("; the reconstruction is averaged over 2 x 2 pixels first")
    assert meaning["reconstruction"].endswith(", 2 times as high and wide")
    features = pixels.transpose(0, 3, 1, 2) / 255
    large = found["reconstruction"]
    assert large.shape == (3, 2, 12, 20)
    means = np.stack([large[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]).mean(axis=0)
    expected = (features - means) ** 2
    np.testing.assert_allclose(found["error_map"], expected, atol=1e-6)
    np.testing.assert_allclose(found["score"][:, 0], expected.mean(axis=(1, 2, 3)), atol=1e-6)


def test_a_network_that_enlarges_is_told_to_name_a_layer_as_it_has_no_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = ModelRepository(enlarged(tmp_path)).version("large").manifest
    note_missing_taps(manifest, "conv4 shuffle2", ())
    said = capsys.readouterr().err
    assert "no latent vector: name a layer that `avizor describe` lists with --embedding, to have it" in said
    assert "attribute" not in said


def test_an_adopted_file_that_enlarges_is_scored_alike(tmp_path: Path) -> None:
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 3, 3])
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, 12, 15])],
        [scales],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "large.onnx")
    request = ExportRequest("large", "reconstruct", TensorInput(name="x", item_shape=(1, 4, 5)))
    version = adopt_model(tmp_path / "large.onnx", request, tmp_path / "models")
    shapes = {output.name: output.item_shape for output in version.manifest.outputs}
    assert shapes == {"score": (1,), "error_map": (1, 4, 5), "reconstruction": (1, 12, 15)}
    with EmbeddedEngine(tmp_path / "models") as engine:
        items = np.random.default_rng(0).standard_normal((2, 1, 4, 5)).astype(np.float32)
        assert np.abs(engine.infer(InferRequest("large", {"x": items}, ["error_map"]))["error_map"]).max() < 1e-10


class Stretched(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x], dim=3)


def test_a_reconstruction_that_is_stretched_is_refused(tmp_path: Path) -> None:
    request = ExportRequest("m", "reconstruct", TensorInput(name="x", item_shape=(1, 4, 4)))
    with pytest.raises(ExportError, match="a whole multiple of its height"):
        export_model(Stretched(), request, tmp_path)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (STRIDED, (1, 64, 64)),
        (
            "conv16k7 conv16 pool conv32x3 pool latentmap8",
            (1, 32, 32),
        ),  # mirrored, 3 + 3 convolutions of one size and a kernel of 7
        ("conv16x3 pool conv32x3 pool latent8", (1, 32, 32)),
        ("conv64k5 conv32x4 shuffle2", (1, 14, 14)),
        ("fc64 latent8", (30,)),
    ],
)
def test_the_rules_of_thumb_are_about_the_way_down(spec: str, shape: tuple[int, ...]) -> None:
    assert warnings_for(layers_of_design(spec, 0, shape)[0]) == []


def test_the_way_down_is_warned_of_as_ever() -> None:
    (warning,) = warnings_for(layers_of_design("conv8x4 pool latent8", 0, (1, 16, 16))[0])
    assert "n = 4 convolutions" in warning


def test_describe_shows_the_fields_and_sizes_of_both_halves() -> None:
    arguments = [STRIDED, "--size", "64", "--channels", "1"]
    output = CliRunner().invoke(describe, arguments, catch_exceptions=False).output
    rows = {line.split()[0]: line for line in output.splitlines()[2:]}
    assert "64x8x8  15x15" in rows["encoder.6"]
    assert "all" in rows["encoder.latent"]
    assert "transposed conv 4x4 / 2" in rows["decoder.9"]
    assert "1x64x64" in rows["decoder.9"]
    assert "warning" not in output
    network = build_autoencoder(STRIDED, (1, 64, 64))
    assert f"{sum(parameter.numel() for parameter in network.parameters()):,}" in rows["total"]


def test_fields_grow_more_slowly_where_a_map_was_enlarged() -> None:
    found = {layer.name: layer for layer in layers_of_design("conv8 pool conv8 latentmap4", 0, (1, 16, 16))[0]}
    # 3; 4 by the pool; 2 steps of 2; the mirror of the second convolution, 2 more; then enlarged, 2 of 1.
    assert found["encoder.3"].field == found["encoder.latent"].field == (8, 8)
    assert found["decoder.2"].field == (12, 12)
    assert found["decoder.5"].field == (14, 14)


def test_a_table_row_is_described_by_its_columns() -> None:
    result = CliRunner().invoke(describe, ["fc64 fc32 latent8", "--columns", "30"], catch_exceptions=False)
    assert "input 30" in result.output
    assert f"{30 * 64 + 64:,}" in result.output


@pytest.mark.parametrize("times", ["", "x2", "x3bn"])
@pytest.mark.parametrize("kernel", range(1, 7))
def test_what_a_refused_convolution_is_told_to_be_is_not_refused(kernel: int, times: str) -> None:
    followed = 0
    for stride, padding in itertools.product((1, 2, 3, 4), ("", "p0", "p1", "p2", "p3")):
        word = f"conv8k{kernel}s{stride}"
        try:
            build_autoencoder(f"{word}{padding}{times} latent4", (1, 24, 24))
        except ExportError as error:
            advice = str(error).rpartition("write ")[2].rpartition("as in ")[2]
            words = advice if "conv" in advice else f"{word}{advice}{times}"
            build_autoencoder(f"{words} latent4", (1, 24, 24))
            followed += 1
    assert followed

"""`--int8` and `--fp16` models pass the guard and the same contract, or are refused if they lose too much accuracy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from click.testing import CliRunner
from handwritten_digits import bundled
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn
from training import in_batches, train_classifier

from avizor_export.architectures.catalogue import build
from avizor_export.cli import export
from avizor_export.data.labelled_items import LabelledItems
from avizor_export.description.graph_layers import layers_of
from avizor_export.exporter import adopt_model, export_model
from avizor_export.front_ends.image_scaling import ImageScaling
from avizor_export.precision.accuracy_guard import precision_warnings
from avizor_export.request import ExportRequest
from avizor_inference.checks.check_version import check_model
from avizor_inference.cli import models as list_models
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import ExportError
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import ImageInput, TensorInput
from avizor_inference.repository.manifest import Manifest, Precision
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.onnx_graph import read_graph

SPEC = "conv8 pool conv16 pool fc10"
IMAGE = ImageInput(height=32, width=32, channels=1)
VECTOR = TensorInput(name="features", item_shape=(6,))
DIGITS = bundled()
HELD_OUT = LabelledItems(DIGITS.test, DIGITS.test_labels)


@pytest.fixture(scope="module")
def digits() -> nn.Module:
    """A small network that has learnt scikit-learn's digits."""
    torch.manual_seed(0)
    network = build(SPEC, 10, (1, 32, 32))
    pixels = in_batches(ImageScaling(IMAGE.front_end), torch.from_numpy(DIGITS.train))
    train_classifier(network, pixels, torch.from_numpy(DIGITS.train_labels), epochs=4)
    return network


def request(**changes: Any) -> ExportRequest:
    settings = {
        "name": "m",
        "task": "classify",
        "input": IMAGE,
        "labels": list("0123456789"),
        "serving": {"max_batch_size": 32},
    }
    return ExportRequest(**{**settings, **changes})


def vectors(**changes: Any) -> ExportRequest:
    """What a network of six numbers and two classes, told apart by the sign of two of them, is exported with."""
    rng = np.random.default_rng(0)
    items = rng.uniform(-1, 1, (200, 6)).astype(np.float32)
    items[:, 0] *= 10_000
    held_out = LabelledItems(items, (items[:, 1] + items[:, 2] > 0).astype(np.int64))
    settings = {"input": VECTOR, "labels": ["minus", "plus"], "real_items": items, "held_out": held_out}
    return request(**{**settings, **changes})


class Signs(nn.Module):
    """Right on all of `vectors`, by a hidden layer that is `scale` times its input and that its last layer undoes."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(6, 6, bias=False), nn.Linear(6, 2, bias=False)
        with torch.no_grad():
            self.hidden.weight.copy_(torch.eye(6) * scale)
            self.last.weight.copy_(torch.tensor([[0.0, -1, -1, 0, 0, 0], [0, 1, 1, 0, 0, 0]]) / scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x))  # type: ignore[no-any-return]


class Plane(nn.Module):
    """An autoencoder that gives back what lies in the plane of the first two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 2, bias=False), nn.Linear(2, 6, bias=False)
        with torch.no_grad():
            self.encoder.weight.copy_(torch.eye(2, 6))
            self.decoder.weight.copy_(torch.eye(6, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))  # type: ignore[no-any-return]


def nothing_published(models: Path) -> bool:
    return not models.exists() or all(path.name.startswith(".avizor-") for path in models.iterdir())


def save_images(folder: Path, count: int) -> Path:
    for index in range(count):
        path = folder / str(DIGITS.test_labels[index]) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(DIGITS.test[index, :, :, 0]).save(path)
    return folder


def test_int8_by_the_command_with_folders_of_images(digits: nn.Module, tmp_path: Path) -> None:
    torch.save(digits.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "labels.txt").write_text("\n".join("0123456789") + "\n")
    images = save_images(tmp_path / "held-out", 200)
    command = [
        SPEC, "--name", "digits", "--task", "classify", "--input", "image:height=32,width=32,channels=1", "--int8",
        "--weights", tmp_path / "weights.pt", "--labels", tmp_path / "labels.txt", "--items", images, "--evaluate-on", images,
        "--models", tmp_path / "models",
    ]  # fmt: skip
    result = CliRunner().invoke(export, [str(each) for each in command], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    version = ModelRepository(tmp_path / "models").version("digits")
    manifest, variant = version.manifest, version.manifest.variant
    assert manifest.precision == "int8"
    assert manifest.simplified
    assert variant is not None
    assert (variant.metric, variant.items) == ("accuracy", 200)
    assert variant.settings["calibration_items"] == 200
    assert variant.before > 0.85
    assert variant.drop <= 0.01
    assert variant.top1_agreement is not None
    assert variant.top1_agreement > 0.97
    assert [speed.batch_size for speed in variant.speed] == [1, 32]
    assert manifest.evaluation.keys() == {"accuracy", "held_out_items", "embedding"}
    assert (manifest.evaluation["accuracy"], manifest.evaluation["held_out_items"]) == (variant.after, 200)
    embedding = manifest.evaluation["embedding"]
    assert isinstance(embedding, dict)
    assert embedding["items"] == 200
    assert {"knn_accuracy", "silhouette", "pca_knn_accuracy", "pca_silhouette"} <= embedding.keys()
    assert "| embedding: knn_accuracy |" in (version.folder / "card.md").read_text()
    assert manifest.model_bytes < variant.fp32_bytes
    assert ("int8 is not faster on this machine" in result.stderr) is any(speed.ratio <= 1 for speed in variant.speed)
    listed = CliRunner().invoke(list_models, ["--models", str(tmp_path / "models")]).output
    assert "int8" in listed
    assert check_model(ModelRepository(tmp_path / "models"), "digits") == []
    card = (version.folder / "card.md").read_text()
    assert "## Precision: int8" in card
    assert "| conv 3x3 |" in card  # layers as before quantisation
    proto = onnx.shape_inference.infer_shapes(onnx.load(version.model_path))
    kinds = [layer.kind for layer in layers_of(ir.from_proto(proto))]
    assert kinds == ["conv 3x3", "max pool 2x2 / 2", "conv 3x3", "max pool 2x2 / 2", "linear"]
    assert reached(tmp_path / "models", "digits") == pytest.approx(variant.after, abs=0.02)


def reached(models: Path, name: str) -> float:
    """Accuracy through the embedded engine."""
    with EmbeddedEngine(models, device="cpu") as engine:
        found = [
            engine.infer(InferRequest(name, {"image": batch}, ["probabilities"]))["probabilities"]
            for batch in HELD_OUT.batches(32)
        ]
    return float((np.concatenate(found).argmax(axis=1) == HELD_OUT.labels).mean())


@pytest.mark.slow
def test_int8_is_held_to_the_guard_through_a_live_server_as_well(
    digits: nn.Module, tmp_path: Path, triton_address: str
) -> None:
    asked = request(precision="int8", real_items=DIGITS.train[:64], held_out=HELD_OUT, verify_with=f"triton://{triton_address}")
    variant = export_model(digits, asked, tmp_path).manifest.variant
    assert variant is not None
    assert variant.server is not None
    assert variant.server.after == pytest.approx(variant.after, abs=0.01)


def test_an_onnx_file_behind_a_front_end_in_int8(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((1024, 10)).astype(np.float32), "weight")
    nodes = [helper.make_node("Flatten", ["pixels"], ["flat"]), helper.make_node("MatMul", ["flat", "weight"], ["logits"])]
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *dims])
        for name, *dims in (("pixels", 1, 32, 32), ("logits", 10))
    ]
    graph = helper.make_graph(nodes, "foreign", tensors[:1], tensors[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "foreign.onnx")
    pixels = DIGITS.test[:, :, :, 0].reshape(-1, 1024) / np.float32(255)
    held_out = LabelledItems(DIGITS.test, (pixels @ numpy_helper.to_array(weight)).argmax(axis=1))
    asked = request(precision="int8", real_items=DIGITS.train[:64], held_out=held_out, max_drop=0.05)
    version = adopt_model(tmp_path / "foreign.onnx", asked, tmp_path / "models")
    assert [(each.domain, each.version) for each in onnx.load(version.model_path).opset_import] == [("", 18)]
    assert version.manifest.evaluation["accuracy"] > 0.95  # type: ignore[operator]


def variant_of(manifest: Manifest, target: str, share: float = 0.01) -> Manifest:
    """The manifest as if its variant had been made for another target, with another difference of its activations."""
    variant = manifest.variant
    assert variant is not None
    outputs = variant.outputs | {"activations": variant.outputs["activations"].model_copy(update={"share": share})}
    changes = {"settings": variant.settings | {"target": target}, "outputs": outputs}
    return manifest.model_copy(update={"variant": variant.model_copy(update=changes)})


def test_fp16(digits: nn.Module, tmp_path: Path) -> None:
    version = export_model(digits, request(precision="fp16", held_out=HELD_OUT), tmp_path)
    manifest = version.manifest
    assert manifest.variant is not None
    assert abs(manifest.variant.drop) <= 0.003
    assert manifest.model_bytes < 0.7 * manifest.variant.fp32_bytes
    proto = onnx.load(version.model_path)
    assert {each.type.tensor_type.elem_type for each in proto.graph.output} == {TensorProto.FLOAT}
    assert {each.data_type for each in proto.graph.initializer if each.name.startswith("network.")} == {TensorProto.FLOAT16}
    assert check_model(ModelRepository(tmp_path), "m") == []
    assert "fp16 is meant for GPUs" in (version.folder / "card.md").read_text()
    assert "fp16 is meant for GPUs, and the target is cpu" in next(precision_warnings(variant_of(manifest, "cpu")))
    assert reached(tmp_path, "m") == pytest.approx(manifest.variant.after, abs=0.01)


def test_int8_and_fp16_are_not_both_of_one_version(tmp_path: Path) -> None:
    command = [SPEC, "--name", "m", "--task", "classify", "--int8", "--fp16", "--models", str(tmp_path)]
    result = CliRunner().invoke(export, command)
    assert result.exit_code == 2
    assert "--int8 and --fp16 are two precisions" in result.stderr


def test_int8_for_tensorrt(digits: nn.Module, tmp_path: Path) -> None:
    asked = request(precision="int8", real_items=DIGITS.train[:64], held_out=HELD_OUT, serving={"target": "tensorrt"})
    version = export_model(digits, asked, tmp_path)
    variant = version.manifest.variant
    assert variant is not None
    assert abs(variant.drop) <= 0.01
    assert (variant.settings["target"], variant.settings["activations"]) == ("tensorrt", "int8, symmetric, per tensor")
    assert check_model(ModelRepository(tmp_path), "m") == []
    assert list(precision_warnings(version.manifest)) == [
        "int8 is meant for GPUs; its speed was measured on a CPU, which does not predict the speed on a GPU"
    ]
    assert read_graph(version.model_path).beyond_int8 == ()
    assert "in float32 on CUDA" in next(precision_warnings(variant_of(version.manifest, "gpu")))
    off = next(precision_warnings(variant_of(version.manifest, "cpu", share=0.4)))
    assert off.startswith("activations in int8 is off by 0.40 of its standard deviation")


def test_an_accuracy_that_chance_gives_is_said(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(build(SPEC, 10, (1, 32, 32)).state_dict(), tmp_path / "weights.pt")  # not trained
    (tmp_path / "labels.txt").write_text("\n".join("0123456789") + "\n")
    np.savez(tmp_path / "held_out.npz", items=DIGITS.test[:200], labels=DIGITS.test_labels[:200].astype(str))
    command = [
        SPEC, "--name", "m", "--task", "classify", "--input", "image:height=32,width=32,channels=1", "--max-batch-size", 32,
        "--weights", tmp_path / "weights.pt", "--labels", tmp_path / "labels.txt", "--evaluate-on", tmp_path / "held_out.npz",
        "--models", tmp_path / "models",
    ]  # fmt: skip
    result = CliRunner().invoke(export, [str(each) for each in command], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    accuracy = ModelRepository(tmp_path / "models").version("m").manifest.evaluation["accuracy"]
    assert f"  accuracy {accuracy:.4f} on 200 held-out items" in result.stdout
    assert f"Warning: accuracy {accuracy:.4f} is what chance gives" in result.stderr


def test_held_out_items_alone_are_figures_of_the_manifest(tmp_path: Path) -> None:
    version = export_model(Signs(), vectors(), tmp_path)
    assert version.manifest.precision == "fp32"
    assert version.manifest.variant is None
    evaluation = version.manifest.evaluation
    assert (evaluation["accuracy"], evaluation["held_out_items"]) == (1.0, 200)


def test_int8_that_loses_too_much_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    """One number is 10,000 times as large as those that matter: in steps of 1/255 of its range they are all zero."""
    with pytest.raises(
        ExportError, match=r"int8 loses 0\.\d+ of accuracy \(1\.0000 to 0\.\d+ on 200 held-out items\), over --max"
    ):
        export_model(Signs(), vectors(precision="int8"), tmp_path)
    assert nothing_published(tmp_path)
    variant = export_model(Signs(), vectors(precision="int8", max_drop=0.9), tmp_path).manifest.variant
    assert variant is not None
    assert 0.3 < variant.drop < 0.9


def test_fp16_that_overflows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="probabilities is not finite on held-out items"):
        export_model(Signs(scale=1000.0), vectors(precision="fp16"), tmp_path)
    assert nothing_published(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out": None}, "no labelled held-out items to prove int8 on; give at least 100 with --evaluate-on"),
        ({"held_out": LabelledItems(np.zeros((20, 6), np.float32), np.zeros(20, np.int64))}, "20 labelled held-out items"),
        ({"real_items": None}, "no real items to measure the range"),
        ({"real_items": np.zeros((31, 6), np.float32)}, "31 real items .* give at least 32 with --items"),
    ],
)
def test_a_variant_that_cannot_be_proven_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        export_model(Signs(), vectors(precision="int8", **changes), tmp_path)
    assert nothing_published(tmp_path)


@pytest.mark.parametrize("skill", ["none", "inverted"])
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_what_cannot_be_lost_is_no_guard(tmp_path: Path, skill: str, precision: Precision) -> None:
    """Labels in another order: the accuracy is 0, and whatever the network loses, it is none the worse."""
    asked = vectors(precision=precision)
    assert asked.held_out is not None
    labels = 1 - asked.held_out.labels if skill == "inverted" else np.arange(200) // 100
    held_out = replace(asked.held_out, labels=labels)
    network = Signs() if skill == "inverted" else Blind()
    says = f"what {precision} loses cannot be measured on the held-out items, .* accuracy 0.* chance gives .*; or publish fp32"
    with pytest.raises(ExportError, match=says):
        export_model(network, replace(asked, held_out=held_out), tmp_path)
    assert nothing_published(tmp_path)
    export_model(network, replace(asked, held_out=held_out, precision="fp32"), tmp_path)


class Blind(nn.Module):
    """Gives nearly the same class for everything."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 2)
        with torch.no_grad():
            self.linear.bias.copy_(torch.tensor([1e5, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)  # type: ignore[no-any-return]


def test_an_autoencoder_on_labels_that_are_turned_round_is_told_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    items = np.zeros((300, 6), np.float32)
    items[:, :2] = rng.uniform(-1, 1, (300, 2))
    anomalies = np.arange(300) % 3 == 0
    items[anomalies, 2:] = rng.normal(0, 0.5, (100, 4))
    held_out = LabelledItems(items, (~anomalies).astype(np.int64))
    settings = {"task": "reconstruct", "input": VECTOR, "labels": None, "real_items": items, "held_out": held_out}
    with pytest.raises(ExportError, match=r"the labels swapped it would be 1\.0000; .*; or publish fp32"):
        export_model(Plane(), request(precision="int8", **settings), tmp_path)


@pytest.mark.slow
def test_an_autoencoder_in_int8_has_a_calibration_of_its_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    items = np.zeros((300, 6), np.float32)
    items[:, :2] = rng.uniform(-1, 1, (300, 2))
    anomalies = np.arange(300) % 3 == 0
    items[anomalies, 2:] = rng.normal(0, 0.5, (100, 4))
    normal = [NormalRecording("plane", item[None]) for item in items[~anomalies][:40]]
    asked = request(
        task="reconstruct", input=VECTOR, labels=None, normal=normal, real_items=items[~anomalies],
        held_out=LabelledItems(items, anomalies.astype(np.int64)),
    )  # fmt: skip
    versions = [export_model(Plane(), asked, tmp_path)]
    versions.append(export_model(Plane(), replace(asked, precision="int8"), tmp_path))
    variant = versions[1].manifest.variant
    assert variant is not None
    assert variant.metric == "roc_auc"
    assert variant.before == versions[0].manifest.evaluation["roc_auc"]
    assert variant.after > 0.99
    assert variant.rank_correlation is not None
    calibrations = [calibration for version in versions for calibration in version.calibrations()]
    assert [each.precision for each in calibrations] == ["fp32", "int8"]
    assert len({each.id for each in calibrations}) == 2


def test_a_simplifier_that_changes_the_figures_is_left_out(tmp_path: Path) -> None:
    def losing_a_weight(program: torch.onnx.ONNXProgram) -> None:
        program.optimize()
        for value in program.model.graph.initializers.values():
            if value.name == "network.hidden.weight" and value.const_value is not None:
                weights = value.const_value.numpy().copy()
                weights[1, 1] = 0.0
                value.const_value = ir.tensor(weights, name=value.name)

    version = export_model(Signs(), vectors(), tmp_path, simplify=losing_a_weight)
    assert not version.manifest.simplified
    assert version.manifest.evaluation["accuracy"] == 1.0
    assert check_model(ModelRepository(tmp_path), "m") == []
    assert "not simplified" in (version.folder / "card.md").read_text()

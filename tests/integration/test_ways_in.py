"""The command exports every kind of model: architecture, spec, torchvision's weights, exported program, ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.export import Dim
from torchvision import models as torchvision_models

from avizor_export.architectures.catalogue import build
from avizor_export.cli import export
from avizor_export.parity.ranks import rank_correlation
from avizor_inference.checks.check_version import check_model
from avizor_inference.digests import sha256_of_file
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.repository.models import ModelRepository, ModelVersion

IMAGE = "image:height=32,width=32,channels=1,mean=0.5,std=0.5"
SPEC = "conv8 pool conv16 pool fc10"


def run(folder: Path, *arguments: object) -> ModelVersion:
    """Export into `folder`/models under the name `made`."""
    command = ["--name", "made", "--models", folder / "models", *arguments]
    result = CliRunner().invoke(export, [str(each) for each in command], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert check_model(ModelRepository(folder / "models"), "made") == []
    return ModelRepository(folder / "models").version("made")


def refused(folder: Path, *arguments: object) -> str:
    """What the command says where it refuses; nothing is published."""
    command = ["--name", "made", "--models", folder / "models", *arguments]
    result = CliRunner().invoke(export, [str(each) for each in command])
    assert result.exit_code != 0
    assert not (folder / "models" / "made").exists()
    return f"{result.exception} {result.output}"


def labels(folder: Path, names: Sequence[str] = tuple("0123456789")) -> Path:
    path = folder / "labels.txt"
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return path


def trained(folder: Path, design: str = SPEC) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    network = build(design, 10, (1, 32, 32)).eval()
    torch.save(network.state_dict(), folder / "weights.pt")
    return network, folder / "weights.pt"


def probabilities(folder: Path, pixels: np.ndarray) -> np.ndarray:
    with EmbeddedEngine(folder / "models") as engine:
        return engine.infer(InferRequest("made", {"image": pixels}, ["probabilities"]))["probabilities"]


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), dtype=np.uint8)


def scaled() -> torch.Tensor:
    return (torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5


def expected(network: nn.Module) -> np.ndarray:
    with torch.inference_mode():
        return torch.softmax(network(scaled()), 1).numpy()


@pytest.mark.parametrize("design", [SPEC, "lenet"])
def test_an_architecture_or_a_spec_with_its_state_dict(tmp_path: Path, design: str) -> None:
    network, weights = trained(tmp_path, design)
    version = run(tmp_path, design, "--task", "classify", "--input", IMAGE, "--weights", weights, "--labels", labels(tmp_path))
    np.testing.assert_allclose(probabilities(tmp_path, PIXELS), expected(network), atol=1e-5)
    assert version.manifest.provenance.factory == design
    assert version.manifest.parity.top1_agreement == 1.0


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    said = refused(tmp_path, "lenet", "--task", "classify")
    for part in (
        "say with --input what one raw item is",
        "give --labels",
        "give the trained weights of 'lenet' with --weights",
    ):
        assert part in said


def test_settings_that_an_architecture_does_not_have_or_that_labels_contradict(tmp_path: Path) -> None:
    _, weights = trained(tmp_path, "lenet")
    given = ("lenet", "--task", "classify", "--input", IMAGE, "--weights", weights, "--labels", labels(tmp_path), "--set")
    assert "'lenet' takes no --set layout; it takes classes" in refused(tmp_path, *given, "layout=adapted")
    assert "--set classes=5, and there are 10 labels; leave it out" in refused(tmp_path, *given, "classes=5")


def test_a_design_without_weights_has_learnt_nothing(tmp_path: Path) -> None:
    said = refused(tmp_path, SPEC, "--task", "classify", "--input", IMAGE, "--labels", labels(tmp_path))
    assert "give the trained weights" in said
    said = refused(tmp_path, SPEC, "--task", "classify", "--input", IMAGE, "--labels", labels(tmp_path), "--weights", "none.pt")
    assert said.startswith("none.pt does not exist")


@pytest.mark.slow
def test_torchvisions_weights_bring_labels_and_normalisation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = torchvision_models.googlenet(weights=None, init_weights=False, aux_logits=True, transform_input=True).eval()
    torch.save(published.state_dict(), tmp_path / "googlenet.pth")  # with auxiliary heads, as the published file has them
    weights = f"torchvision:IMAGENET1K_V1={tmp_path / 'googlenet.pth'}"
    version = run(tmp_path, "googlenet", "--task", "classify", "--weights", weights, "--max-batch-size", 2)
    assert len(version.manifest.labels or ()) == 1000
    assert (version.manifest.labels or ())[0] == "tench"
    pixels = np.random.default_rng(1).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        wanted = torch.softmax(published(((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)), 1).numpy()
    np.testing.assert_allclose(probabilities(tmp_path, pixels), wanted, atol=1e-5)


def test_weights_that_torchvision_does_not_have(tmp_path: Path) -> None:
    said = refused(tmp_path, "resnet34", "--task", "classify", "--weights", "torchvision:IMAGENET99")
    assert "there are IMAGENET1K_V1" in said
    said = refused(tmp_path, "lenet", "--task", "classify", "--weights", "torchvision:IMAGENET1K_V1")
    assert "torchvision has no weights for 'lenet'" in said


def test_a_design_for_another_task(tmp_path: Path) -> None:
    """Before its weights are even looked for."""
    said = refused(tmp_path, "fc8 latent2", "--task", "classify", "--input", "table:columns=a/b")
    assert "'fc8 latent2' returns a reconstruction of its input; give --task reconstruct" in said
    for design in (SPEC, "lenet"):
        said = refused(tmp_path, design, "--task", "reconstruct", "--input", IMAGE)
        assert f"{design!r} returns logits; give --task classify" in said


def test_settings_beside_torchvisions_weights(tmp_path: Path) -> None:
    torchvision = ("--task", "classify", "--weights", "torchvision:IMAGENET1K_V1")
    said = refused(tmp_path, "resnet34", *torchvision, "--set", "classes=10", "--set", "nonsense=1")
    assert "torchvision's weights have their own classes; leave out --set classes, nonsense" in said
    said = refused(tmp_path, "alexnet", *torchvision, "--set", "batch_norm=true")
    assert "torchvision has no weights for 'alexnet' with batch norm; it has them for vgg16" in said
    said = refused(tmp_path, "vgg16", "--task", "classify", "--weights", "torchvision:IMAGENET99", "--set", "batch_norm=true")
    assert "no weights 'IMAGENET99' for vgg16 with batch norm; there are IMAGENET1K_V1" in said
    # What the published file holds is what our network takes.
    with torch.device("meta"):
        published, ours = torchvision_models.vgg16_bn().state_dict(), build("vgg16", 1000, (3, 224, 224), batch_norm=True)
    assert {name: value.shape for name, value in published.items()} == {n: v.shape for n, v in ours.state_dict().items()}


@pytest.mark.parametrize(
    ("design", "setting", "says"),
    [
        (
            "lenet",
            "classes=true",
            "--set classes=true is not a number of classes; leave it out: the labels are counted instead",
        ),
        ("lenet", "classes=0", "--set classes=0 is not a number"),
        ("alexnet", "batch_norm=False", "--set batch_norm='False' is neither true nor false; write --set batch_norm=true"),
        (SPEC, "batch_norm=1", "--set batch_norm=1 is neither true nor false"),
    ],
)
def test_a_setting_that_makes_no_sense(tmp_path: Path, design: str, setting: str, says: str) -> None:
    names = labels(tmp_path)
    assert says in refused(tmp_path, design, "--task", "classify", "--input", IMAGE, "--labels", names, "--set", setting)


@pytest.mark.parametrize("design", [SPEC.removesuffix("10"), "lenet"])
def test_labels_that_do_not_fit_the_weights(tmp_path: Path, design: str) -> None:
    _, weights = trained(tmp_path, design)
    arguments = (design, "--task", "classify", "--input", IMAGE, "--weights", weights, "--labels")
    said = refused(tmp_path, *arguments, labels(tmp_path, tuple("012345678")))
    assert f"{weights} is of a network with 10 classes, and there are 9 labels; give a label for each" in said
    # Before anything is built.
    said = refused(tmp_path, *arguments, labels(tmp_path, ("a", "b", "a")))
    assert "labels have to differ, and none may be empty or contain a line break: 'a' is repeated" in said
    said = refused(tmp_path, *arguments, labels(tmp_path, ("a", "", "b")))
    assert "line 2 is blank" in said


def test_an_exported_program(tmp_path: Path) -> None:
    network, _ = trained(tmp_path)
    program = torch.export.export(network, (torch.rand(2, 1, 32, 32),), dynamic_shapes=({0: Dim("batch")},))
    torch.export.save(program, tmp_path / "made.pt2")
    version = run(tmp_path, tmp_path / "made.pt2", "--task", "classify", "--input", IMAGE, "--labels", labels(tmp_path))
    np.testing.assert_allclose(probabilities(tmp_path, PIXELS), expected(network), atol=1e-5)
    assert version.manifest.provenance.factory == "made.pt2"
    assert version.manifest.provenance.weights_sha256 == sha256_of_file(tmp_path / "made.pt2")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "classes=2"], "not a factory that takes arguments"),
        (["--weights", "w.pt"], "has its weights inside"),
        (["--calibrate", "normal"], "is for autoencoders"),
        (["--input", "tensor:name=foo,item_shape=7"], "takes x, float32[4], and by --input it is foo"),
    ],
)
def test_an_option_that_would_say_nothing_is_refused(tmp_path: Path, options: list[str], says: str) -> None:
    onnx.save(linear(), tmp_path / "given.onnx")
    command = ["--task", "classify", "--labels", labels(tmp_path, ["a", "b"]), *options]
    assert says in refused(tmp_path, tmp_path / "given.onnx", *command)


def test_an_exported_program_with_a_frozen_batch(tmp_path: Path) -> None:
    network, _ = trained(tmp_path)
    torch.export.save(torch.export.export(network, (torch.rand(2, 1, 32, 32),)), tmp_path / "made.pt2")
    said = refused(tmp_path, tmp_path / "made.pt2", "--task", "classify", "--input", IMAGE, "--labels", labels(tmp_path))
    assert "frozen at 2" in said


def test_a_file_that_is_no_exported_program(tmp_path: Path) -> None:
    (tmp_path / "made.pt2").write_bytes(b"nothing of the kind")
    said = refused(tmp_path, tmp_path / "made.pt2", "--task", "classify", "--input", IMAGE, "--labels", labels(tmp_path))
    assert "not an exported program" in said


def onnx_file(folder: Path, network: nn.Module, example: torch.Tensor, opset: int = 18) -> Path:
    path = folder / "foreign.onnx"
    torch.onnx.export(
        network,
        (example,),
        path,
        dynamo=True,
        opset_version=opset,
        dynamic_shapes=({0: Dim("batch")},),
        input_names=["pixels"],
        output_names=["out"],
        external_data=False,
        verbose=False,
    )
    return path


@pytest.mark.parametrize("opset", [18, 20])
def test_an_onnx_file_with_a_front_end_before_it(tmp_path: Path, opset: int) -> None:
    network, _ = trained(tmp_path)
    path = onnx_file(tmp_path, network, torch.rand(2, 1, 32, 32), opset)
    version = run(tmp_path, path, "--task", "classify", "--input", IMAGE, "--labels", labels(tmp_path))
    np.testing.assert_allclose(probabilities(tmp_path, PIXELS), expected(network), atol=1e-5)
    assert version.manifest.parity.compared_with.startswith("the reference evaluator of onnx")
    assert version.manifest.opset == 18
    assert version.manifest.provenance.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_an_onnx_file_that_ends_in_a_softmax_gets_no_second_one(tmp_path: Path) -> None:
    network, _ = trained(tmp_path)
    path = onnx_file(tmp_path, nn.Sequential(network, nn.Softmax(1)), torch.rand(2, 1, 32, 32))
    run(tmp_path, path, "--task", "classify", "--labels", labels(tmp_path))
    with EmbeddedEngine(tmp_path / "models") as engine:
        found = engine.infer(InferRequest("made", {"pixels": scaled().numpy()}, ["probabilities"]))["probabilities"]
    np.testing.assert_allclose(found, expected(network), atol=1e-5)


def test_an_autoencoder_from_an_onnx_file_gets_its_error(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 6)).eval()
    path = onnx_file(tmp_path, network, torch.rand(2, 6))
    run(tmp_path, path, "--task", "reconstruct")
    rows = torch.rand(5, 6)
    with EmbeddedEngine(tmp_path / "models") as engine:
        found = engine.infer(InferRequest("made", {"pixels": rows.numpy()}, ["score", "error_map", "reconstruction"]))
    with torch.inference_mode():
        error = (rows - network(rows)) ** 2
    np.testing.assert_allclose(found["error_map"], error.numpy(), atol=1e-6)
    np.testing.assert_allclose(found["score"][:, 0], error.mean(1).numpy(), atol=1e-6)


def linear(batch: int | str = "batch", domain: str = "", value: float = 1.0) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.full((4, 2), value, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], domain=domain)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 2])],
        [weight],
    )
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize(
    ("proto", "says"),
    [
        (linear(batch=2), "batch dimension of x is frozen at"),
        (linear(domain="com.example"), "needs operators of com.example"),
        (linear(value=float("nan")), "not finite on"),
    ],
)
def test_an_onnx_file_that_breaks_the_contract(tmp_path: Path, proto: onnx.ModelProto, says: str) -> None:
    onnx.save(proto, tmp_path / "bad.onnx")
    assert says in refused(tmp_path, tmp_path / "bad.onnx", "--task", "classify", "--labels", labels(tmp_path, ["a", "b"]))


def test_a_card_is_written_beside_the_manifest(models: Path) -> None:
    card = (ModelRepository(models).version("normal").folder / "card.md").read_text(encoding="utf-8")
    for heading in ("# normal, version 1", "## Parity", "## Calibration", "## Layers"):
        assert heading in card
    assert (ModelRepository(models).version("normal").folder / "card-calibration.png").stat().st_size > 1000


def test_rank_correlation_ties_and_reversal() -> None:
    rising = np.arange(20.0)
    assert rank_correlation(np.stack([rising, rising * 3 + 1e-12], axis=1)) == pytest.approx(1.0)
    assert rank_correlation(np.stack([rising, -rising], axis=1)) == pytest.approx(-1.0)
    assert rank_correlation(np.zeros((20, 2))) is None


def test_scores_that_differ_by_rounding_have_no_order() -> None:
    # Ten are the same but for rounding, on both sides of a sixth digit, and in another order in the other column.
    tied = 0.1234565 + 2e-8 * np.arange(-5, 5)
    others = np.arange(1.0, 11.0)
    pairs = np.stack([np.concatenate([tied, others]), np.concatenate([tied[::-1], others])], axis=1)
    assert rank_correlation(pairs) == pytest.approx(1.0)

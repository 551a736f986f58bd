"""checks/: `avizor models check` finds each kind of damage, and engines refuse what does not match its manifest."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from avizor_inference.checks.check_version import check_model, model_notes
from avizor_inference.cli import models as models_command
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import AvizorError, RepositoryError, VersionRefused
from avizor_inference.repository.models import ModelRepository

VARIANT = {
    "metric": "accuracy", "before": 0.98, "after": 0.97, "drop": 0.01, "max_drop": 1.0, "items": 100,
    "outputs": {name: {"largest_absolute": 0.1, "item": 0} for name in ("probabilities", "embedding", "activations")},
    "speed": [],
    "provider": "CPUExecutionProvider", "fp32_sha256": "", "fp32_bytes": 1, "settings": {},
}  # fmt: skip


@pytest.fixture
def copy(models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(models, tmp_path / "models"))


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    after = change(before)
    assert after != before, "the test changed nothing"
    path.write_text(after)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_sound_models_pass(models: Path) -> None:
    repository = ModelRepository(models)
    assert repository.names() == ["digits", "kinds", "normal", "transfers"]
    assert [check_model(repository, name) for name in repository.names()] == [[], [], [], []]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.pbtxt", lambda s: s.replace("TYPE_UINT8, dims", "TYPE_FP32, dims", 1), "input image is float32"),
        ("config.pbtxt", lambda s: s.replace('"probabilities"', '"logits"'), "output logits is not in model.onnx"),
        ("config.pbtxt", lambda s: s.replace("dims: [ 10 ]", "dims: [ 11 ]"), "output probabilities is float32[11]"),
        ("config.pbtxt", lambda s: s.replace("max_batch_size: 16", "max_batch_size: 0"), "max_batch_size is 0"),
        ("config.pbtxt", lambda s: s.replace("onnxruntime", "tensorrt"), "backend is 'tensorrt'"),
        ("config.pbtxt", lambda s: s.replace('name: "digits"', 'name: "other"'), "it has to be the folder's"),
        ("config.pbtxt", lambda s: s.replace("label_filename", "nonsense_field"), "not a Triton model configuration"),
        ("config.pbtxt", lambda s: s.replace(', label_filename: "labels.txt"', ""), "no output names labels.txt"),
        (
            "config.pbtxt",
            lambda s: s.replace("avizor_model_sha256_1", "avizor_model_sha256_7"),
            "is not the digest of version 1",
        ),
        ("config.pbtxt", lambda s: s.replace("dims: [ 84 ]", "dims: [ ]"), "embedding has no dims"),
        ("config.pbtxt", lambda s: s.replace("dims: [ 84 ]", "dims: [ 84, 1 ]"), "embedding has 2 dims and 1 of batch"),
        ("config.pbtxt", lambda s: s.replace("dims: [ 84 ]", "dims: [ 84 ], reshape: { shape: [ 84 ] }"), "is reshaped"),
        ("config.pbtxt", lambda s: s.replace("batch_size: 16, inputs", "batch_size: 17, inputs"), "batch_size 17, over max"),
        ("config.pbtxt", lambda s: s.replace('inputs { key: "image"', 'inputs { key: "picture"'), "exactly the inputs"),
        (
            "config.pbtxt",
            lambda s: s.replace("dynamic_batching {", "dynamic_batching { preferred_batch_size: [ 32 ], "),
            "preferred_batch_size 32",
        ),
        ("config.pbtxt", lambda s: s + 'default_model_filename: "other.onnx"', "default_model_filename is 'other.onnx'"),
        ("config.pbtxt", lambda s: s + 'platform: "tensorrt_plan"', "platform is 'tensorrt_plan'"),
        ("labels.txt", lambda s: s.replace("7", "seven"), "is not the manifest's 10 labels"),
        ("1/manifest.json", lambda s: s.replace('"opset": 18', '"opset": 17'), "opset and IR version 17"),
        ("1/manifest.json", lambda s: s.replace('"passed": true', '"passed": false', 1), "parity report did not pass"),
        ("1/manifest.json", lambda s: s.replace('"version": 1', '"version": 2'), "copied or renamed"),
        ("1/manifest.json", lambda s: s.replace('"task"', '"tusk"'), "unknown key 'tusk', did you mean 'task'?"),
        ("1/manifest.json", lambda s: s[: len(s) // 2], "is not a manifest"),
    ],
)
def test_each_damage_is_found(copy: Path, file: str, change: Callable[[str], str], message: str) -> None:
    edit(copy / "digits" / file, change)
    problems = check_model(ModelRepository(copy), "digits")
    assert any(message in problem for problem in problems), problems


@pytest.mark.parametrize("damage", [flip_a_byte, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_changed_model_is_found_and_refused(copy: Path, damage: Callable[[Path], object]) -> None:
    damage(copy / "digits" / "1" / "model.onnx")
    assert check_model(ModelRepository(copy), "digits")
    with EmbeddedEngine(copy) as engine, pytest.raises(VersionRefused, match=r"model\.onnx"):
        engine.infer(InferRequest("digits", {"image": np.zeros((1, 32, 32, 1), np.uint8)}, ["probabilities"]))


def test_a_file_that_is_no_onnx_is_refused_even_with_its_digest(copy: Path) -> None:
    folder = copy / "digits" / "1"
    (folder / "model.onnx").write_bytes(b"nonsense" * 100)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model_sha256"] = hashlib.sha256(b"nonsense" * 100).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "not an ONNX model" in check_model(ModelRepository(copy), "digits")[0]
    with EmbeddedEngine(copy) as engine, pytest.raises(VersionRefused, match="cannot load"):
        engine.spec("digits")


def replace_model(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change the graph of a version, and its digest in the manifest."""
    model = onnx.load(folder / "model.onnx")
    before = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    change(model)
    onnx.save(model, folder / "model.onnx")
    after = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    for path in (folder / "manifest.json", folder.parent / "config.pbtxt"):
        edit(path, lambda text: text.replace(before, after))


def test_an_operator_set_that_is_named_twice_is_found(copy: Path) -> None:
    replace_model(copy / "digits" / "1", lambda model: model.opset_import.append(onnx.helper.make_opsetid("", 18)))
    (problem,) = check_model(ModelRepository(copy), "digits")
    assert "names the operator set of ai.onnx twice" in problem


def test_operators_of_scikit_learn_are_served_up_to_the_version_that_runtimes_read(copy: Path) -> None:
    for version, expected in ((5, []), (6, ["version 6 of ai.onnx.ml is over 5, which runtimes cannot read"])):
        folder = Path(shutil.copytree(copy / "digits", copy / f"ml{version}"))
        edit(folder / "config.pbtxt", lambda text: text.replace('name: "digits"', f'name: "{folder.name}"'))  # noqa: B023
        edit(folder / "1" / "manifest.json", lambda text: text.replace('"name": "digits"', f'"name": "{folder.name}"'))  # noqa: B023
        opset = onnx.helper.make_opsetid("ai.onnx.ml", version)
        replace_model(folder / "1", lambda model: model.opset_import.append(opset))  # noqa: B023
        problems = check_model(ModelRepository(copy), folder.name)
        assert [problem.rpartition("model.onnx: ")[2] for problem in problems] == expected


def uint8_about_128(model: onnx.ModelProto) -> None:
    """Quantise what goes into the softmax, as CPUs are fastest with it."""
    (last,) = (node for node in model.graph.node if "probabilities" in node.output)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0.1, np.float32), "scale"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(128, np.uint8), "zero"))
    steps = [
        onnx.helper.make_node("QuantizeLinear", [last.input[0], "scale", "zero"], ["quantised"]),
        onnx.helper.make_node("DequantizeLinear", ["quantised", "scale", "zero"], ["logits"]),
    ]
    model.graph.node.remove(last)
    model.graph.node.extend([*steps, onnx.helper.make_node("Softmax", ["logits"], ["probabilities"])])


def for_tensorrt(text: str) -> str:
    accelerator = 'optimization { execution_accelerators { gpu_execution_accelerator [ { name: "tensorrt" } ] } }'
    return text.replace("KIND_AUTO", "KIND_GPU").replace("KIND_CPU", "KIND_GPU") + accelerator


def test_int8_that_tensorrt_does_not_take_is_found_in_the_version_that_it_would_serve(copy: Path) -> None:
    edit(copy / "digits" / "config.pbtxt", for_tensorrt)
    assert check_model(ModelRepository(copy), "digits") == []
    replace_model(copy / "digits" / "1", uint8_about_128)
    (problem,) = check_model(ModelRepository(copy), "digits")
    assert "TensorRT takes signed int8 about zero, and model.onnx has uint8" in problem
    shutil.copytree(copy / "digits" / "1", copy / "digits" / "2")
    manifest = copy / "digits" / "2" / "manifest.json"
    edit(manifest, lambda text: text.replace('"version": 1', '"version": 2'))
    problems = check_model(ModelRepository(copy), "digits")
    assert [problem.partition(":")[0] for problem in problems if "TensorRT" in problem] == ["digits/2"]
    edit(copy / "digits" / "config.pbtxt", lambda text: text + "version_policy { specific { versions: [ 1 ] } }")
    problems = check_model(ModelRepository(copy), "digits")
    assert [problem.partition(":")[0] for problem in problems if "TensorRT" in problem] == ["digits/1"]


@pytest.mark.parametrize(
    ("precision", "parameters", "problem"),
    [
        ("fp32", {"precision_mode": "INT8"}, "precision_mode is INT8, and the version is fp32; give FP32"),
        ("fp32", {"precision_mode": "INT8", "int8_calibration_table_name": "ranges"}, None),
        ("fp32", {"precision_mode": "FP16"}, None),
        ("int8", {}, "precision_mode is FP32, and the version is int8; give INT8"),
        ("int8", {"precision_mode": "INT8"}, None),
    ],
)
def test_the_precision_that_tensorrt_is_asked_for_is_held_against_that_of_the_version(
    copy: Path, precision: str, parameters: dict[str, str], problem: str | None
) -> None:
    given = " ".join(f'parameters {{ key: "{key}", value: "{value}" }}' for key, value in parameters.items())
    edit(copy / "digits/config.pbtxt", lambda text: for_tensorrt(text).replace('"tensorrt" }', f'"tensorrt" {given} }}'))
    if precision != "fp32":
        path = copy / "digits/1/manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"variant": VARIANT, "precision": precision}))
    found = [line for line in check_model(ModelRepository(copy), "digits") if "precision_mode" in line]
    assert len(found) == bool(problem), found
    assert not problem or problem in found[0]


def test_a_newest_version_that_the_policy_leaves_out_is_noted_and_not_wrong(copy: Path) -> None:
    repository, path = ModelRepository(copy), copy / "digits/config.pbtxt"
    assert model_notes(repository, "digits") == []
    edit(path, lambda text: text + "version_policy { specific { versions: [ 1 ] } }")
    assert model_notes(repository, "digits") == []
    edit(path, lambda text: text.replace("versions: [ 1 ]", "versions: [ 2 ]"))
    assert check_model(repository, "digits") == []
    result = CliRunner().invoke(models_command, ["check", "digits", "--models", str(copy)])
    assert result.exit_code == 0
    assert "digits: ok\n  note: digits: config.pbtxt: version_policy does not serve version 1" in result.output


def calibration_file(copy: Path) -> Path:
    (identifier,) = ModelRepository(copy).version("normal").calibration_ids()
    return copy / "normal" / "1" / "calibrations" / f"{identifier}.json"


def test_a_calibration_of_another_model_is_refused(copy: Path) -> None:
    edit(calibration_file(copy), lambda s: s.replace('"model_sha256": "', '"model_sha256": "f'))
    assert "made with another model.onnx" in check_model(ModelRepository(copy), "normal")[0]


def test_a_damaged_calibration_that_was_never_active_is_found(copy: Path) -> None:
    stored = calibration_file(copy)
    unlisted = stored.with_name("0123456789ab.json")
    unlisted.write_text(stored.read_text()[:-20])
    (problem,) = check_model(ModelRepository(copy), "normal")
    assert f"{unlisted} is not a calibration: " in problem


def test_flipped_bits_give_a_clear_error_never_a_traceback(copy: Path) -> None:
    """Every byte of the small text files damaged in turn would take minutes; 150 random ones each."""
    rng = np.random.default_rng(0)
    for file in ("config.pbtxt", "1/manifest.json"):
        path = copy / "digits" / file
        original = path.read_bytes()
        for position in rng.integers(0, len(original), 150):
            damaged = bytearray(original)
            damaged[position] ^= 1 << int(rng.integers(0, 7))
            path.write_bytes(bytes(damaged))
            check_model(ModelRepository(copy), "digits")
            try:
                EmbeddedEngine(copy).spec("digits")
            except AvizorError as error:
                assert str(error)
        path.write_bytes(original)


def test_a_sound_report_on_another_precision_passes(copy: Path) -> None:
    path = copy / "digits" / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.update(variant=VARIANT | {"server": {"address": "triton://a:1", "after": 0.97}}, precision="int8")
    path.write_text(json.dumps(manifest))
    assert check_model(ModelRepository(copy), "digits") == []


def test_no_repository() -> None:
    with pytest.raises(RepositoryError, match="is not a folder"):
        ModelRepository("/nowhere/at/all")


def change_parity(manifest: dict[str, Any], **figures: float) -> None:
    manifest["parity"]["outputs"]["probabilities"].update(figures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: change_parity(m, share_of_allowed=1.5),
            "probabilities passed, and its difference is 1.5 times what is allowed",
        ),
        (
            lambda m: change_parity(m, largest_absolute=5),
            "probabilities passed, and its difference of 5 is over what is allowed",
        ),
        (lambda m: m["parity"]["outputs"].pop("embedding"), "the parity report says nothing of embedding"),
        (lambda m: m.update(variant=VARIANT | {"drop": 0.5}, precision="int8"), "drop is 0.5, and before - after is 0.01"),
        (
            lambda m: m.update(variant=VARIANT | {"after": 97}, precision="int8"),
            "accuracy goes from 0.98 to 97; it is between 0",
        ),
        (
            lambda m: m.update(variant=VARIANT | {"server": {"address": "triton://a:1", "after": 7}}, precision="int8"),
            "accuracy through triton://a:1 is 7; it is between 0 and 1",
        ),
        (
            lambda m: m.update(variant=VARIANT | {"outputs": {}}, precision="int8"),
            "the report on int8 says nothing of embedding",
        ),
        (lambda m: m["parity"].update(samples=[]), "the parity report names no samples"),
        (lambda m: m["parity"].update(batch_sizes=[]), "the parity report names no batch sizes"),
    ],
)
def test_figures_that_contradict_their_verdict_or_are_missing_are_found(
    copy: Path, change: Callable[[Any], object], message: str
) -> None:
    path = copy / "digits" / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    problems = check_model(ModelRepository(copy), "digits")
    assert any(message in problem for problem in problems), problems

"""repository/manifest.py: what a manifest must say, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.manifests import CREATED, VARIANT, manifest, manifest_fields

from avizor_inference.errors import VersionRefused
from avizor_inference.repository.manifest import MANIFEST_FILE, MODEL_FILE, Manifest, Provenance
from avizor_inference.strict_json import validation_message


def refusal(folder: Path, **changes: Any) -> str:
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(manifest_fields(**changes)))
    with pytest.raises(VersionRefused) as caught:
        Manifest.read(path)
    text = str(caught.value)
    assert text.startswith(f"{path} is not a manifest: ")
    assert text.endswith("; export the model again")
    return text.removeprefix(f"{path} is not a manifest: ").removesuffix("; export the model again")


def test_the_names_of_files_are_part_of_the_format() -> None:
    assert (MANIFEST_FILE, MODEL_FILE) == ("manifest.json", "model.onnx")


def test_what_is_left_out_has_its_default() -> None:
    short = manifest()
    assert (short.schema_version, short.precision, short.simplified) == (1, "fp32", True)
    assert (short.labels, short.front_end_digest, short.variant, short.evaluation) == (None, None, None, {})
    provenance = short.provenance
    assert (provenance.arguments, provenance.weights_sha256, provenance.weights_key) == ({}, None, None)
    assert provenance.created == CREATED


def test_a_sigmoid_has_a_threshold_for_each_label_and_nothing_else_has_any(tmp_path: Path) -> None:
    sigmoid: dict[str, Any] = {"labels": ["a", "b"], "activation": "sigmoid"}
    assert manifest(**sigmoid, thresholds=[0.5, 1]).is_multi_label
    assert not manifest(labels=["a", "b"], activation="softmax").is_multi_label
    assert "1 thresholds, where activation is sigmoid and there are 2 labels" in refusal(tmp_path, **sigmoid, thresholds=[0.5])
    assert "2 thresholds, where activation is None" in refusal(tmp_path, labels=["a", "b"], thresholds=[0.5, 0.5])
    assert "thresholds.1: Input should be greater than 0" in refusal(tmp_path, **sigmoid, thresholds=[0.5, 0])
    assert "thresholds.1: Input should be less than or equal to 1" in refusal(tmp_path, **sigmoid, thresholds=[0.5, 1.01])
    assert "only a classifier has" in refusal(tmp_path, task="reconstruct", activation="softmax")


def test_a_manifest_is_written_as_indented_json_and_read_again(tmp_path: Path) -> None:
    written = manifest(labels=["a", "b"], evaluation={"accuracy": 0.9}, precision="int8", variant=VARIANT)
    text = written.to_json()
    assert text.startswith('{\n  "schema_version": 1,\n  "name": "m",\n')
    assert text.endswith("\n  }\n}\n")
    (tmp_path / MANIFEST_FILE).write_text(text)
    assert Manifest.read(tmp_path / MANIFEST_FILE) == written


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VersionRefused) as caught:
        Manifest.read(tmp_path / "gone")
    assert str(caught.value) == f"{tmp_path / 'gone'}: cannot be read (no such file or directory); export the model again"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema_version": 2}, "schema_version: Input should be 1"),
        ({"version": 0}, "version: Input should be greater than or equal to 1"),
        ({"task": "detect"}, "task: Input should be 'classify' or 'reconstruct'"),
        ({"precision": "fp64"}, "precision: Input should be 'fp32', 'fp16' or 'int8'"),
        ({"input": {"modality": "tensor"}}, "input.tensor.item_shape: is missing"),
        ({"lables": ["a"]}, "file: unknown key 'lables'"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    assert refusal(tmp_path, **changes) == says


@pytest.mark.parametrize("field", manifest_fields())
def test_what_a_manifest_must_say(field: str) -> None:
    fields = manifest_fields()
    del fields[field]
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate(fields)
    assert validation_message(caught.value) == f"{field}: is missing"


@pytest.mark.parametrize("field", manifest_fields()["provenance"])
def test_what_a_provenance_must_say(field: str) -> None:
    fields = manifest_fields()["provenance"]
    del fields[field]
    with pytest.raises(ValidationError) as caught:
        Provenance.model_validate(fields)
    assert validation_message(caught.value) == f"{field}: is missing"


def test_an_input_whose_items_cannot_travel_is_refused(tmp_path: Path) -> None:
    huge = {"modality": "tensor", "item_shape": [2**30]}
    assert refusal(tmp_path, input=huge) == "file: file: input has 4.29e+09 bytes an item; a message of gRPC holds 2 GiB"


def test_another_precision_comes_with_a_report_and_fp32_without(tmp_path: Path) -> None:
    assert refusal(tmp_path, precision="int8") == "file: precision int8 without a report on the variant"
    assert refusal(tmp_path, variant=VARIANT) == "file: precision fp32 with a report on the variant"
    assert manifest(precision="fp16", variant=VARIANT).variant is not None
    assert refusal(tmp_path, precision_of_file=True) == "file: precision_of_file is for another precision than fp32"
    assert manifest(precision="int8", precision_of_file=True).variant is None


@pytest.mark.parametrize("name", ["a", "0", "Model_1.2-x", "a" * 128])
def test_names_that_a_folder_a_url_and_a_label_can_hold_are_accepted(name: str) -> None:
    assert manifest(name=name).name == name


@pytest.mark.parametrize("name", ["", ".a", "-a", "_a", "a/b", "a b", "ä", "a\n", "a" * 129])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, name=name).startswith("name: String should match pattern")


def test_a_network_may_have_no_parameters_but_not_fewer(tmp_path: Path) -> None:
    fields = manifest_fields()["provenance"]
    assert manifest(provenance=fields | {"parameters": 0}).provenance.parameters == 0
    assert refusal(tmp_path, provenance=fields | {"parameters": -1}).startswith("provenance.parameters: ")


def test_arguments_are_told_as_a_person_reads_them() -> None:
    provenance = Provenance.model_validate(manifest_fields()["provenance"])
    assert provenance.built_with() == ""
    more = provenance.model_copy(update={"arguments": {"classes": 2, "layout": "conv4 fc"}})
    assert more.built_with() == 'with classes=2, layout="conv4 fc"'

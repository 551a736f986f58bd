"""`avizor explain filters` works as users run it, on versions as they are published."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from support.warm_starts import warm_run
from torch import nn

from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.errors import SettingsError
from avizor_inference.explain.cli import explain
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.models import ModelRepository

AVIZOR = Path(sys.executable).with_name("avizor")


def explained(*words: object) -> Result:
    return CliRunner().invoke(explain, ["filters", *map(str, words)])


def facts(*words: object) -> dict[str, Any]:
    result = explained(*words, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.output)
    return answer


def test_the_command_draws_the_first_layer(models: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [
        AVIZOR,
        "explain",
        "filters",
        "digits",
        "--models",
        models,
        "--out",
        tmp_path / "new" / "folder",
    ]
    done = warm_run([*map(str, command)])
    assert done.returncode == 0, done.stderr
    first, *_, picture, numbers = done.stdout.splitlines()
    assert first == "digits version 1, layer 0: weights 6 x 1 x 5 x 5"
    assert "of the network, by 22 filters in 2 layers" in done.stdout
    assert "warning: " in done.stdout  # the network is untrained
    with Image.open(picture.strip()) as image:
        assert image.format == "PNG"
        assert len(np.unique(np.asarray(image.convert("L")))) > 50
    with np.load(numbers.strip()) as arrays:
        weights = arrays["weights"]
    stored = {each.name: each for each in onnx.load(models / "digits" / "1" / "model.onnx").graph.initializer}
    np.testing.assert_array_equal(weights, onnx.numpy_helper.to_array(stored["network.0.weight"]))


def test_another_layer_by_name_with_its_numbers_as_json(models: Path, tmp_path: Path) -> None:
    answer = facts("digits", "--models", models, "--out", tmp_path, "--layer", "3")
    assert (answer["layer"], answer["shape"]) == ("3", [16, 6, 5, 5])
    assert len(answer["noise"]) == 16
    assert answer["network"]["layers"].keys() == {"0", "3"}
    manifest = ModelRepository(models).version("digits").manifest
    assert manifest.filter_noise is not None
    assert answer["network"]["share_of_noise"] == manifest.filter_noise.share
    assert Path(answer["picture"]).is_file()


def test_what_is_left_out_of_a_picture_is_said(models: Path, tmp_path: Path) -> None:
    answer = facts("kinds", "--models", models, "--out", tmp_path, "--layer", "12")
    assert answer["left_out"] == "shown: 8 of 16 filters, 8 of 12 input channels"
    with np.load(answer["numbers"]) as arrays:
        assert arrays["weights"].shape == (16, 12, 3, 3)


def test_the_first_layer_of_a_table_is_drawn_over_its_columns(models: Path, tmp_path: Path) -> None:
    answer = facts("transfers", "--models", models, "--out", tmp_path)
    assert answer["shape"] == [5, 5]
    assert answer["network"]["not_judged"]
    with np.load(answer["numbers"]) as arrays:
        assert arrays["features"].tolist() == ["amount", "hour", "country=ES", "country=FR", "country=IT"]


def test_an_unknown_layer_is_refused(models: Path, tmp_path: Path) -> None:
    result = explained("digits", "--models", models, "--out", tmp_path, "--layer", "conv9")
    assert isinstance(result.exception, SettingsError)
    assert str(result.exception) == "there is no convolution 'conv9'; those there are 0, 3"
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a network without convolutions, over a tensor without names."""
    folder = tmp_path_factory.mktemp("dense")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    request = ExportRequest("dense", "classify", TensorInput(name="x", item_shape=(4, 4)), labels=["a", "b", "c"])
    export_model(network, request, folder)
    return folder


def test_a_matrix_over_numbers_without_a_place_is_refused_with_the_reason(dense: Path, tmp_path: Path) -> None:
    result = explained("dense", "--models", dense, "--out", tmp_path)
    assert isinstance(result.exception, SettingsError)
    assert "no convolution, and its first layer 1 is a matrix over 16 numbers" in str(result.exception)


def test_the_card_says_how_much_is_noise_or_why_it_cannot_tell(models: Path, dense: Path) -> None:
    card = (models / "digits" / "1" / "card.md").read_text(encoding="utf-8")
    assert "filters in 2 layers look like fresh weights; of layer" in card
    assert "Warning: " in card
    card = (dense / "dense" / "1" / "card.md").read_text(encoding="utf-8")
    assert "cannot be told from its filters: no filter has enough weights side by side." in card


def test_a_version_of_before_is_read(dense: Path) -> None:
    path = dense / "dense" / "1" / "manifest.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    del fields["filter_noise"]
    path.write_text(json.dumps(fields), encoding="utf-8")
    assert ModelRepository(dense).version("dense").manifest.filter_noise is None

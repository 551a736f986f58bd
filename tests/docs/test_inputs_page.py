"""docs/inputs.md: its examples can be read, both forms say the same, and no key is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from support.environment import ROOT

from avizor_export.front_ends.build import build_front_end
from avizor_export.networks.input_description import parse_input
from avizor_inference.items.input_spec import (
    AudioInput,
    CategoryColumn,
    ImageFrontEnd,
    ImageInput,
    LogMelFrontEnd,
    NumberColumn,
    TableFrontEnd,
    TableInput,
    TensorInput,
)
from avizor_inference.strict_json import Strict

PAGE = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("section", ["Images", "Sound", "Any other tensor"])
def test_the_short_form_and_the_json_are_the_same(section: str, tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text(blocks(section, "json")[0])
    assert parse_input(blocks(section, "text")[0].strip()) == parse_input(str(tmp_path / "input.json"))


def test_what_a_table_does(tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text(blocks("Table rows", "json")[0])
    spec = parse_input(str(tmp_path / "input.json"))
    assert isinstance(spec, TableInput)
    assert spec.front_end.features == ("amount", "hour", "country=ES", "country=FR", "country=IT")
    assert parse_input(blocks("Table rows", "text")[0].strip()).tensor().name == "record"


def test_the_example_of_torchaudio_has_its_frames() -> None:
    spec = parse_input(blocks("Sound", "text")[1].strip())
    assert build_front_end(spec)(torch.zeros(1, 16_000)).shape == (1, 1, 80, 1 + 16_000 // 160)


@pytest.mark.parametrize(
    ("section", "models"),
    [
        ("Images", [ImageInput, ImageFrontEnd]),
        ("Sound", [AudioInput, LogMelFrontEnd]),
        ("Table rows", [TableInput, TableFrontEnd, NumberColumn, CategoryColumn]),
        ("Any other tensor", [TensorInput]),
    ],
)
def test_every_key_is_explained(section: str, models: list[type[Strict]]) -> None:
    for model in models:
        for key, field in model.model_fields.items():
            assert re.search(rf"[`\"/]{key}[`\"/=]|{key}=", SECTIONS[section]), f"{section} does not name {key}"
            if isinstance(field.default, str) and key not in ("modality", "kind", "name"):
                assert f"`{field.default}`" in SECTIONS[section], f"{section} does not give the default of {key}"

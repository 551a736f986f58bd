"""docs/inputs.md: its examples can be read, both forms say the same, and no key is missing."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.environment import ROOT
from support.sounds import tone, write_wav
from torchvision import transforms

from avizor_export.front_ends.build import build_front_end
from avizor_export.networks.input_description import parse_input
from avizor_inference.items.images import decode_image
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


ROWS = re.findall(r"^\| ([^|`]*(?:`[^|]*`)?[^|]*?) \| `(image:[^`]*)` \|$", SECTIONS["Images"], re.MULTILINE)


def test_the_descriptions_of_what_other_tools_do_are_theirs() -> None:
    described = {training: parse_input(text) for training, text in ROWS}
    assert len(described) == 7
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 401, 3)).astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    pixels = {training: decode_image(buffer.getvalue(), spec) for training, spec in described.items()}  # type: ignore[arg-type]
    bicubic = transforms.InterpolationMode.BICUBIC
    for training, steps in (
        ("torchvision: `Resize(256), CenterCrop(224)`", [transforms.Resize(256), transforms.CenterCrop(224)]),
        ("the same with `InterpolationMode.BICUBIC`", [transforms.Resize(256, bicubic), transforms.CenterCrop(224)]),
        ("torchvision: `Resize((240, 320))`", [transforms.Resize((240, 320))]),
        (
            'timm: `crop_pct=0.9`, `crop_mode="squash"`, 224 pixels',
            [transforms.Resize((248, 248), bicubic), transforms.CenterCrop(224)],
        ),
    ):
        np.testing.assert_array_equal(pixels[training], np.asarray(transforms.Compose(steps)(image)))
    (letterbox,) = (each for training, each in pixels.items() if "LetterBox" in training)
    assert (letterbox[: (640 - round(300 * 640 / 401)) // 2] == 114).all()
    caffe, keras = list(described.values())[-2:]
    items = torch.tensor(pixels["torchvision: `Resize(256), CenterCrop(224)`"][None])
    expected = items.flip(3).permute(0, 3, 1, 2) - torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    torch.testing.assert_close(build_front_end(caffe)(items), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(build_front_end(keras)(items), items / 127.5 - 1, atol=1e-6, rtol=0)


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


def test_a_network_is_trained_with_the_input_that_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write_wav(tmp_path / "sounds/train/fan" / f"{number}.wav", tone(1.1, seed=number))
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("The same input in training", "python")
    made: dict[str, Any] = {}
    exec(example, made)
    features = made["features"]
    assert features.shape[1:] == (1, 16, 16)
    torch.testing.assert_close(features.mean((0, 1, 3)), torch.zeros(16), atol=1e-4, rtol=0)
    assert parse_input("input.json") == made["sound"]

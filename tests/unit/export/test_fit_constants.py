"""data/fit_constants.py: `--fit-on`: the constants that an input description leaves out, from training data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.sounds import write_wav

from avizor_export.data.fit_constants import fit_on
from avizor_export.front_ends.build import build_front_end
from avizor_export.networks.input_description import parse_input
from avizor_inference.errors import DatasetError, ExportError
from avizor_inference.items.input_spec import AudioInput, ImageInput, TableInput

SOUND = "audio:sample_rate=8000,window_samples=2048,hop_samples=2048,n_fft=256,hop_length=128,n_mels=16"


def test_channels_of_images(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (30, 8, 8, 3)).astype(np.uint8)
    for number, image in enumerate(pixels):
        (tmp_path / str(number % 2)).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / str(number % 2) / f"{number}.png")
    np.save(tmp_path / "train.npy", pixels)
    spec = parse_input("image:height=8,width=8,channels=3")
    for path in (tmp_path, tmp_path / "train.npy"):
        found = fit_on(path, spec)
        assert isinstance(found, ImageInput)
        np.testing.assert_allclose(found.front_end.mean, (pixels / 255).mean(axis=(0, 1, 2)), rtol=1e-5)
        np.testing.assert_allclose(found.front_end.std, (pixels / 255).std(axis=(0, 1, 2)), rtol=1e-5)


def test_bands_of_sound(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sounds = [(0.1 * rng.standard_normal(2 * 2048)).astype(np.float32) for _ in range(6)]
    for number, sound in enumerate(sounds):
        write_wav(tmp_path / f"{number}.wav", sound, rate=8000)
    found = fit_on(tmp_path, parse_input(SOUND))
    assert isinstance(found, AudioInput)
    bands = build_front_end(found)(torch.from_numpy(np.concatenate(sounds).reshape(-1, 2048)))[:, 0]
    np.testing.assert_allclose(bands.mean(dim=(0, 2)), 0, atol=0.01)  # the files are of 16 bits
    np.testing.assert_allclose(bands.std(dim=(0, 2), correction=0), 1, atol=0.01)


def test_columns_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b,c\n1,10,7\n3,,7\n5,30,7\n")
    (tmp_path / "input.json").write_text(
        '{"modality": "table", "front_end": {"columns": [{"kind": "number", "name": "a", "mean": 1},'
        '{"kind": "number", "name": "b", "fill": -10}, {"kind": "number", "name": "c"}]}}'
    )
    found = fit_on(tmp_path / "train.csv", parse_input(str(tmp_path / "input.json")))
    assert isinstance(found, TableInput)
    (_, a), (_, b), (_, c) = found.front_end.numbers
    assert (a.mean, a.fill) == (1.0, 3.0)  # the mean was given
    assert a.std == pytest.approx(np.std([1, 3, 5]))
    assert (b.mean, b.fill) == (10.0, -10.0)  # and here what stands for a missing value
    assert b.std == pytest.approx(np.std([10, -10, 30]))
    assert (c.mean, c.std) == (7.0, 1.0)


def test_what_is_given_stays(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", np.full((4, 8, 8, 1), 51, np.uint8))
    found = fit_on(tmp_path / "train.npy", parse_input("image:height=8,width=8,channels=1,std=0.25"))
    assert isinstance(found, ImageInput)
    assert found.front_end.mean == pytest.approx((0.2,))
    assert found.front_end.std == (0.25,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tensor:item_shape=3", "no front end with constants to fit"),
        ("image:height=8,width=8,channels=1,mean=0.5,std=0.5", "gives mean and std already"),
        ("image:height=8,width=8,channels=1", "train.npy: no items to take mean"),
        ("image:height=9,width=8,channels=1", r"train.npy holds uint8\[0, 8, 8, 1\]; wanted uint8\[n, 9, 8, 1\]"),
    ],
)
def test_what_cannot_be_fitted(tmp_path: Path, text: str, says: str) -> None:
    np.save(tmp_path / "train.npy", np.zeros((0, 8, 8, 1), np.uint8))
    with pytest.raises((ExportError, DatasetError), match=says):
        fit_on(tmp_path / "train.npy", parse_input(text))


def test_a_table_of_categories_alone(tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text(
        '{"modality": "table", "front_end": {"columns": [{"kind": "category", "name": "a", "categories": ["x", "y"]}]}}'
    )
    with pytest.raises(ExportError, match="without columns of numbers has no constants"):
        fit_on(tmp_path / "train.csv", parse_input(str(tmp_path / "input.json")))

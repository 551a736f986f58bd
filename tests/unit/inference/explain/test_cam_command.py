"""`avizor explain cam` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support.sounds import tone, write_wav

from avizor_inference.errors import InvalidInput, MediaError, NotExplainable
from avizor_inference.explain.cli import explain


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(explain, ["cam", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    path = tmp_path / "seven.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)).save(path)
    return path


def test_a_picture_and_the_numbers_behind_it_are_written(models: Path, digit: Path, tmp_path: Path) -> None:
    result = run("digits", digit, "--class", "7", "--models", models, "--out", tmp_path / "maps", "--json")
    said = json.loads(result.output)
    assert (said["kind"], said["target"], said["target_unit"]) == ("cam", "7", "logit")
    with Image.open(tmp_path / "maps" / "seven.digits.7.cam.png") as picture:
        assert np.asarray(picture).std() > 0
    with np.load(tmp_path / "maps" / "seven.digits.7.cam.npz") as numbers:
        assert numbers["values"].shape == (5, 5)
        assert numbers["x_edges"].tolist() == np.linspace(0, 32, 6).tolist()
        assert numbers["labels"].tolist() == list("0123456789")
        assert numbers["logits"][7] == pytest.approx(said["target_value"])
        assert numbers["probabilities"].sum() == pytest.approx(1)


def test_the_window_that_tells_most_is_taken_and_named(models: Path, tmp_path: Path) -> None:
    sound = write_wav(tmp_path / "sound.wav", np.concatenate([tone(1.0, hz=300), tone(1.0, hz=3000)]))
    out = ("--models", models, "--out", tmp_path / "maps", "--json")
    chosen = json.loads(run("kinds", sound, "--class", "high", *out).output)
    probabilities = []
    for window in range(4):
        run("kinds", sound, "--class", "high", "--window", window, *out)
        name = f"sound-{window}.kinds.high.cam.npz" if window else "sound.kinds.high.cam.npz"
        with np.load(tmp_path / "maps" / name) as numbers:
            probabilities.append(numbers["probabilities"][2])
    assert chosen["row"] == int(np.argmax(probabilities))
    assert chosen["settings"]["row"] == f"{chosen['row']} of 0 to 3, where high is the most probable"
    assert chosen["axes"]["x"]["unit"] == "seconds"
    assert chosen["axes"]["y"]["unit"] == "Hz"


def test_what_has_no_map_is_refused_in_words(models: Path, digit: Path, tmp_path: Path) -> None:
    out = ("--models", models, "--out", tmp_path / "maps")
    with pytest.raises(InvalidInput, match="no class 'seven'; it has 0, 1"):
        run("digits", digit, "--class", "seven", *out)
    with pytest.raises(InvalidInput, match="there is no 3"):
        run("digits", digit, "--window", 3, *out)
    damaged = digit.with_name("damaged.png")
    damaged.write_bytes(b"no image")
    with pytest.raises(MediaError, match=r"damaged\.png: not an image"):
        run("digits", damaged, *out)
    with pytest.raises(NotExplainable, match=r"normal version 1 has no classes.*error map.*avizor explain occlusion"):
        run("normal", digit, *out)
    with pytest.raises(NotExplainable, match="rows of a table, which have no places; use `avizor explain occlusion transfers"):
        run("transfers", digit, *out)

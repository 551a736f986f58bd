"""`avizor explain occlusion` and `error-map` write pictures and numbers, and say in plain words what they show and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support.sounds import tone, write_wav

from avizor_inference.errors import AvizorError
from avizor_inference.explain.cli import explain


def run(models: Path, *arguments: object) -> Result:
    result = CliRunner().invoke(explain, [*map(str, arguments), "--models", str(models)], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit | AvizorError):
        raise result.exception
    return result


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "seven.png"
    path.parent.mkdir()
    pixels = np.zeros((32, 32), np.uint8)
    pixels[6:9, 8:24] = pixels[6:28, 20:23] = 255
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "in" / "tone.wav", tone(1.1))


def test_a_digit_is_mapped_as_a_picture_and_numbers(models: Path, digit: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(models, "occlusion", "digits", digit, "--size", "8", "--stride", "4", "--class", "7", "--out", out)
    assert result.exit_code == 0, result.output
    assert "occlusion of 7 (probability" in result.output
    assert "size 8 pixels x 8 pixels, stride 4 pixels x 4 pixels, fill mean, copies 49" in result.output
    assert Image.open(out / "seven.digits.7.occlusion.png").width > 400
    with np.load(out / "seven.digits.7.occlusion.npz") as numbers:
        assert numbers["values"].shape == (8, 8)
        assert numbers["x_edges"].tolist() == list(range(0, 33, 4))
        about = json.loads(str(numbers["about"]))
    assert (about["kind"], about["target"], about["target_unit"]) == ("occlusion", "7", "probability")
    assert (about["item"], about["model"]) == (str(digit), "digits.7")


def test_both_kinds_of_maps_of_a_sound_are_put_side_by_side_with_the_areas_of_their_curves(
    models: Path, sound: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("occlusion", "normal", sound, "--by", "frequency", "--window", 1, "--compare", "--json", "--out", out)
    result = run(models, *arguments)
    assert result.exit_code == 0, result.output
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["kind"], second["kind"]) == ("occlusion", "error_map")
    assert first["row"] == 1
    assert first["axes"]["y"]["unit"] == "Hz"
    for each in (first, second):
        assert set(each["curves"]) == {"deletion", "insertion", "random_deletion", "random_insertion"}
    names = {path.name for path in out.iterdir()}
    kinds = ("compare.png", "compare.curves.png", "occlusion.npz", "error_map.npz")
    assert names == {f"tone-1.normal.frequency.{kind}" for kind in kinds}
    with np.load(out / "tone-1.normal.frequency.occlusion.npz") as numbers:
        assert len(numbers["deletion_share"]) == len(numbers["deletion_values"])


def test_the_map_of_errors_has_the_mean_that_is_the_score(models: Path, sound: Path, tmp_path: Path) -> None:
    result = run(models, "error-map", "normal", sound, "--json", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "out" / "tone.normal.error_map.npz") as numbers:
        assert numbers["values"].mean() == pytest.approx(json.loads(result.stdout)["target_value"], rel=1e-5)
        assert (np.diff(numbers["y_edges"]) > 0).all()


def test_rows_of_a_table_are_hidden_and_judged_by_their_columns(models: Path, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("amount,hour,country\n80,3,ES\n5000,12,IT\n")
    result = run(models, "occlusion", "transfers", table, "--row", 1, "--compare", "--json", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["axes"]["x"]["names"] == second["axes"]["x"]["names"] == ["amount", "hour", "country"]
    with np.load(
        tmp_path / "out" / "rows-1.transfers.error_map.npz"
    ) as numbers:  # five features, of which three are the country's
        assert numbers["values"].sum() / 5 == pytest.approx(second["target_value"], rel=1e-5)


def test_maps_of_another_model_or_of_other_settings_do_not_replace_those_that_are_there(
    models: Path, sound: Path, tmp_path: Path
) -> None:
    for options in (("kinds",), ("normal",), ("normal", "--by", "frequency"), ("kinds", "--class", "high")):
        model, *more = options
        result = run(models, "occlusion", model, sound, "--window", 0, *more, "--out", tmp_path / "out")
        assert result.exit_code == 0, result.output
    names = {path.name.removesuffix(".occlusion.png") for path in (tmp_path / "out").glob("*.png")}
    assert names == {"tone.kinds", "tone.normal", "tone.normal.frequency", "tone.kinds.high"}


def test_items_of_the_same_name_do_not_replace_each_other(models: Path, digit: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "seven.png"
    other.parent.mkdir()
    other.write_bytes(digit.read_bytes())
    result = run(models, "occlusion", "digits", digit, other, "--size", "16", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == ["seven.2.digits.occlusion.png", "seven.digits.occlusion.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "0"], "size 0 pixels does not fit"),
        (["--size", "big"], "write one number, or two as in 32x16"),
        (["--size", "40"], "does not fit the height of 32 pixels"),
        (["--fill", "nan"], "give mean, blur, black, or a level from 0 to 255"),
        (["--class", "cat"], "has no class 'cat'; it has 0, 1, 2"),
        (["--by", "time"], "is for sound"),
        (["--window", "5"], "has 1 row (windows"),
        (["--out", "/proc/nowhere"], "cannot be made"),
    ],
)
def test_what_cannot_work_is_refused_in_words(
    models: Path, digit: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run(models, "occlusion", "digits", digit, "--out", tmp_path / "out", *arguments)
    assert result.exit_code != 0
    assert message in f"{result.output} {result.exception}"


def test_a_file_that_cannot_be_read_is_named(models: Path, digit: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    result = run(models, "occlusion", "digits", digit, broken, "--size", "16", "--out", tmp_path / "out")
    assert result.exit_code == 3
    assert f"{broken}: not an image" in result.stderr


def test_a_classifier_has_no_error_map(models: Path, digit: Path, tmp_path: Path) -> None:
    result = run(models, "error-map", "digits", digit, "--out", tmp_path / "out")
    assert "is a classifier, which has no error map" in str(result.exception)

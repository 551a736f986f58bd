"""Occlusion runs full batches, in little memory, and refuses settings that cannot work."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from support.function_model import function_model, network_of
from support.sounds import SOUND

from avizor_inference.arrays import Array, Items
from avizor_inference.errors import InvalidInput
from avizor_inference.explain.hiding.settings import HidingSettings
from avizor_inference.explain.occlusion import occlusion_map, rows_of_map
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import (
    CategoryColumn,
    ImageInput,
    InputSpec,
    NumberColumn,
    SignalInput,
    TableFrontEnd,
    TableInput,
    TensorInput,
)
from avizor_inference.items.kinds.base import Span

PHOTO = ImageInput(height=224, width=224, channels=3)
SMALL = ImageInput(height=16, width=12, channels=1)
ROW = TableInput(
    front_end=TableFrontEnd(
        columns=(
            NumberColumn(name="amount", scale="log1p", lower=0.0, mean=2.0),
            CategoryColumn(name="country", categories=("ES", "FR")),
            NumberColumn(name="hour", mean=-3.0, lower=0.0, upper=23.0),
        )
    )
)


def brightness(rows: Items) -> Array:
    """A score: the mean of each row."""
    return np.asarray(rows.reshape(len(rows), -1).mean(axis=1, keepdims=True), np.float32)


def test_all_batches_but_the_last_are_full() -> None:
    engine, version = function_model(PHOTO, brightness, max_batch_size=32)
    found = occlusion_map(engine, version, RawRow("white", 0, np.full((224, 224, 3), 255, np.uint8)), HidingSettings(fill=0))
    assert rows_of_map(PHOTO) == 170  # 13 x 13 windows of 32 pixels, 16 apart, and the image itself
    assert engine.batches == [32] * 5 + [10]
    # Each window holds 32 x 32 of 224 x 224 pixels, and hiding it takes their part of the mean.
    np.testing.assert_allclose(found.values, 255 * (32 / 224) ** 2, rtol=1e-4)


def test_the_score_of_an_autoencoder_falls_where_what_is_odd_is_hidden() -> None:
    image = np.zeros((16, 12, 1), np.uint8)
    image[4:6, 8:10] = 200
    engine, version = function_model(SMALL, brightness)
    found = occlusion_map(engine, version, RawRow("spot", 0, image), HidingSettings((2,), (2,), "black"))
    assert (found.target, found.target_unit) == ("score", "score")
    assert found.target_value == pytest.approx(200 * 4 / 192)
    assert np.argwhere(found.values > 0).tolist() == [[2, 4]]
    assert found.values.max() == pytest.approx(found.target_value)


def test_copies_are_made_while_the_model_runs_and_never_all_at_once() -> None:
    engine, version = function_model(PHOTO, brightness, max_batch_size=4)
    row = RawRow("black", 0, np.zeros((224, 224, 3), np.uint8))
    settings = HidingSettings((8,), (8,))  # 784 copies of 150,528 bytes: 118 MB
    occlusion_map(engine, version, row)  # what is loaded once
    tracemalloc.start()
    occlusion_map(engine, version, row, settings)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 24 * row.values.nbytes


def test_a_class_is_named_by_its_label_or_its_place_and_is_the_most_probable_one_otherwise() -> None:
    function = network_of(SMALL, 3)
    engine, version = function_model(SMALL, function, ("cat", "dog", "1"))
    row = RawRow("noise", 0, np.random.default_rng(0).integers(0, 256, (16, 12, 1)).astype(np.uint8))
    probabilities = function(row.values[None])[0]
    for wanted, place in (("dog", 1), (0, 0), ("1", 2), (1, 1), (None, int(probabilities.argmax()))):
        found = occlusion_map(engine, version, row, target=wanted)
        assert found.target == ("cat", "dog", "1")[place]
        assert found.target_value == pytest.approx(probabilities[place])
    for wrong in ("bird", 3, -1):
        with pytest.raises(InvalidInput, match=r"has no class .*; it has cat, dog, 1"):
            occlusion_map(engine, version, row, target=wrong)


def test_an_autoencoder_has_no_classes() -> None:
    engine, version = function_model(SMALL, brightness)
    with pytest.raises(InvalidInput, match="autoencoder, which has no classes"):
        occlusion_map(engine, version, RawRow("black", 0, np.zeros((16, 12, 1), np.uint8)), target="cat")


def test_a_number_is_hidden_by_its_usual_value_in_its_own_unit_and_a_name_by_nothing() -> None:
    seen: list[Array] = []

    def look(rows: Items) -> Array:
        seen.append(rows.copy())
        return np.zeros((len(rows), 1), np.float32)

    engine, version = function_model(ROW, look)
    row = RawRow("rows", 0, np.array([100, 1, 12], np.float32))
    occlusion_map(engine, version, row)
    usual = math.expm1(2)
    expected = np.array([[100, 1, 12], [usual, 1, 12], [100, np.nan, 12], [100, 1, 0]])
    np.testing.assert_allclose(seen[0], expected, rtol=1e-6)
    occlusion_map(engine, version, row, HidingSettings(fill="missing"))
    np.testing.assert_array_equal(seen[1][1:] != seen[1][:1], np.eye(3, dtype=bool))
    assert np.isnan(seen[1][1:].diagonal()).all()


def test_seconds_are_counted_from_the_beginning_of_the_recording() -> None:
    engine, version = function_model(SOUND, lambda rows: np.abs(rows).max(axis=1, keepdims=True))
    wave = np.zeros(4096, np.float32)
    wave[1000] = 0.5
    found = occlusion_map(engine, version, RawRow("click", 3, wave, Span(0, 3 * 4096, 4096)), HidingSettings(fill="silence"))
    place = int(found.values[0].argmax())
    assert found.x.edges[place] <= (3 * 4096 + 1000) / 8000 < found.x.edges[place + 1]
    assert found.x.edges[[0, -1]].tolist() == pytest.approx([3 * 0.512, 4 * 0.512])


def test_a_value_that_is_not_finite_is_reported_with_its_copy() -> None:
    def divide(rows: Items) -> Array:
        return np.asarray(1 / rows.reshape(len(rows), -1).min(axis=1, keepdims=True).astype(np.float32))

    engine, version = function_model(SMALL, divide)
    with np.errstate(divide="ignore"), pytest.raises(InvalidInput, match="not a finite number for row 1 of"):
        occlusion_map(engine, version, RawRow("grey", 0, np.full((16, 12, 1), 9, np.uint8)), HidingSettings(fill="black"))


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        (SMALL, HidingSettings((0,)), "size 0 pixels does not fit"),
        (SMALL, HidingSettings((-3,)), "size -3 pixels does not fit"),
        (SMALL, HidingSettings((13,)), "size 13 pixels does not fit the width of 12 pixels"),
        (SMALL, HidingSettings((2.5,)), "2.5 is not a whole number"),
        (SMALL, HidingSettings((math.nan,)), "nan is not a whole number"),
        (SMALL, HidingSettings((math.inf,)), "inf is not a whole number"),
        (SMALL, HidingSettings((4,), (5,)), "stride 5 pixels is over the size 4"),
        (SMALL, HidingSettings((4,), (0,)), "stride 0 pixels is not a number above 0"),
        (SMALL, HidingSettings((4,), (-1,)), "stride -1 pixels is not a number above 0"),
        (SMALL, HidingSettings((4, 4, 4)), "size has 3 numbers"),
        (SMALL, HidingSettings(fill="grey"), "fill 'grey' is not for a model that takes image; give mean, blur, black"),
        (SMALL, HidingSettings(fill="nan"), "fill 'nan' is not"),
        (SMALL, HidingSettings(fill=math.inf), "fill inf is not"),
        (SMALL, HidingSettings(fill=256), "fill 256 is not"),
        (SMALL, HidingSettings(by="time"), "is for sound"),
        (ImageInput(height=4000, width=4000, channels=1), HidingSettings((8,), (1,)), "15,944,049 masked copies"),
        (SOUND, HidingSettings((1e-9,), (1e-9,)), "needs 4,096"),
        (SOUND, HidingSettings((1e-9,), (1e-9,), by="frequency"), "masked copies"),
        (SOUND, HidingSettings((5e-324,), (5e-324,), by="frequency"), "masked copies"),
        (SOUND, HidingSettings((0.6,)), "size 0.6 seconds does not fit the window of 0.512"),
        (SOUND, HidingSettings((math.nan,)), "nan seconds is not a length"),
        (SOUND, HidingSettings((math.nan,), by="frequency"), "size nan Hz does not fit"),
        (SOUND, HidingSettings((9000,), by="frequency"), "size 9000 Hz does not fit"),
        (SOUND, HidingSettings((500,), by="both"), "two numbers each, Hz and seconds"),
        (SOUND, HidingSettings((500, 0.1)), "only one axis is hidden"),
        (SOUND, HidingSettings(fill=3), "fill 3 is not"),
        (ROW, HidingSettings((1,)), "leave out size and stride"),
        (ROW, HidingSettings(fill="0"), "fill '0' is not for a model that takes table; give usual, missing"),
        (SignalInput(channels=1, window_samples=9, hop_samples=9), HidingSettings((0.5,)), "0.5 is not a whole number"),
        (TensorInput(item_shape=(2, 3, 4, 5)), HidingSettings(), "no known places"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_the_model_runs(spec: InputSpec, settings: HidingSettings, message: str) -> None:
    engine, version = function_model(spec, brightness)
    row = RawRow("zeros", 0, np.zeros(spec.tensor_spec.item_shape, spec.tensor_spec.dtype))
    if message == "needs 4,096":  # at least a sample each: many, but not too many
        assert rows_of_map(spec, settings) == 4097
        return
    with pytest.raises(InvalidInput, match=message):
        occlusion_map(engine, version, row, settings)
    assert engine.batches == []

"""items/input_spec.py and items/kinds/: the descriptions of raw items, their bounds and their defaults."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from support.column_fields import CATEGORY, NUMBER, refusal

from avizor_inference.items.input_spec import (
    AudioInput,
    CategoryColumn,
    ImageFrontEnd,
    ImageInput,
    InputSpec,
    LogMelFrontEnd,
    NumberColumn,
    TableFrontEnd,
    TableInput,
    TensorInput,
)
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.items.windows import MAX_CHANNELS, WindowFormat
from avizor_inference.strict_json import Strict, validation_message

IMAGE = {"height": 4, "width": 5, "channels": 3}
LOG_MEL = {"n_fft": 256, "hop_length": 80, "n_mels": 16}
AUDIO = {"sample_rate": 8000, "window_samples": 800, "hop_samples": 400, "front_end": LOG_MEL}


def audio(**changes: Any) -> AudioInput:
    """Fields of the front end and of the sound, told apart by their names."""
    front_end = {name: value for name, value in changes.items() if name in LogMelFrontEnd.model_fields}
    sound = {name: value for name, value in changes.items() if name not in front_end}
    return AudioInput.model_validate(AUDIO | sound | {"front_end": LOG_MEL | front_end})


def log_mel(**changes: Any) -> LogMelFrontEnd:
    front_end = audio(**changes).front_end
    assert isinstance(front_end, LogMelFrontEnd)
    return front_end


def not_a_sound(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        audio(**changes)
    return validation_message(caught.value)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"modality": "image", **IMAGE}, ImageInput),
        ({"modality": "audio", **AUDIO}, AudioInput),
        ({"modality": "table", "front_end": {"columns": [NUMBER]}}, TableInput),
        ({"modality": "tensor", "item_shape": [3]}, TensorInput),
    ],
)
def test_the_modality_tells_the_kind_of_input(fields: dict[str, Any], kind: type[Strict]) -> None:
    assert type(TypeAdapter(InputSpec).validate_python(fields)) is kind
    assert (
        kind.model_validate({name: value for name, value in fields.items() if name != "modality"}).model_dump()["modality"]
        == fields["modality"]
    )


def test_an_error_is_told_of_the_kind_that_was_meant() -> None:
    for fields, says in (
        ({"modality": "video"}, "modality: 'video' is none of 'image', 'audio', 'signal', 'table', 'tensor'"),
        ({"modality": "tensor"}, "tensor.item_shape: is missing"),
        ({"modality": "table", "front_end": {"columns": [{"kind": "text"}]}},
         "table.front_end.columns.0.kind: 'text' is none of 'number', 'category'"),
        ({"modality": "table", "front_end": {"columns": [{"kind": "number"}]}},
         "table.front_end.columns.0.number.name: is missing"),
    ):  # fmt: skip
        with pytest.raises(ValidationError) as caught:
            TypeAdapter(InputSpec).validate_python(fields)
        assert validation_message(caught.value) == says


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ImageInput, IMAGE),
        (AudioInput, AUDIO),
        (LogMelFrontEnd, LOG_MEL),
        (NumberColumn, {"name": "amount"}),
        (CategoryColumn, {"name": "country", "categories": ["ES"]}),
        (TableFrontEnd, {"columns": [NUMBER]}),
        (TableInput, {"front_end": {"columns": [NUMBER]}}),
        (TensorInput, {"item_shape": [3]}),
        (TensorSpec, {"name": "x", "dtype": "uint8", "item_shape": [3]}),
    ],
)
def test_what_a_description_must_say(kind: type[Strict], fields: dict[str, Any]) -> None:
    kind.model_validate(fields)
    for field in fields:
        rest = {name: value for name, value in fields.items() if name != field}
        assert refusal(kind, rest) == f"{field}: is missing"


@pytest.mark.parametrize(
    ("kind", "fields", "field", "least"),
    [
        (ImageInput, IMAGE, "height", 1),
        (ImageInput, IMAGE, "width", 1),
        (ImageInput, IMAGE, "channels", 1),
        (LogMelFrontEnd, LOG_MEL, "n_fft", 1),
        (LogMelFrontEnd, LOG_MEL, "hop_length", 1),
        (LogMelFrontEnd, LOG_MEL, "win_length", 1),
        (LogMelFrontEnd, LOG_MEL, "n_mels", 1),
        (LogMelFrontEnd, LOG_MEL, "f_min", 0),
        (AudioInput, AUDIO | {"front_end": LOG_MEL | {"n_fft": 1}}, "sample_rate", 1),
        (AudioInput, AUDIO | {"front_end": LOG_MEL | {"n_fft": 1}, "hop_samples": 1}, "window_samples", 1),
        (AudioInput, AUDIO, "hop_samples", 1),
        (AudioInput, AUDIO, "channels", 1),
    ],
)
def test_sizes_and_rates_have_a_least_value(kind: type[Strict], fields: dict[str, Any], field: str, least: int) -> None:
    assert kind.model_validate(fields | {field: least}).model_dump()[field] == least
    assert refusal(kind, fields | {field: least - 1}).startswith(f"{field}: Input should be greater than")


@pytest.mark.parametrize(
    ("kind", "fields", "field", "small"),
    [
        (LogMelFrontEnd, LOG_MEL, "floor", 1e-30),
        (NumberColumn, NUMBER, "std", 1e-30),
        (LogMelFrontEnd, LOG_MEL, "std", (1e-30,)),
        (ImageFrontEnd, {}, "std", (1e-30,)),
    ],
)
def test_what_is_divided_by_or_taken_the_logarithm_of_is_above_0(
    kind: type[Strict], fields: dict[str, Any], field: str, small: Any
) -> None:
    assert kind.model_validate(fields | {field: small}).model_dump()[field] == small
    assert "should be greater than 0" in refusal(kind, fields | {field: (0.0,) if isinstance(small, tuple) else 0.0})


def test_what_is_left_out_of_a_front_end_has_its_default() -> None:
    assert ImageInput.model_validate(IMAGE).model_dump() == {
        "modality": "image", **IMAGE, "resize": (), "fit": "stretch", "filter": "bilinear", "antialias": True, "pad": (0,),
        "front_end": {
            "kind": "image", "order": "rgb", "layout": "nchw", "range": "0..1", "mean": (0.0,), "std": (1.0,),
        },
    }  # fmt: skip
    assert LogMelFrontEnd.model_validate(LOG_MEL).model_dump() == {
        "kind": "log_mel", "n_fft": 256, "hop_length": 80, "win_length": None, "window": "hann", "center": False,
        "pad_mode": "constant", "power": 2, "mel_scale": "slaney", "norm": "slaney", "log": "natural", "n_mels": 16,
        "f_min": 0.0, "f_max": None, "floor": 1e-10, "compensated": False, "mean": (0.0,), "std": (1.0,), "preset": None,
        "periodic": True, "pad_end": False, "remove_dc": False, "preemphasis": 0.0, "scale": 1.0, "offset": 0.0, "ref": "one",
        "top_db": None, "layout": "NCFT",
    }  # fmt: skip
    assert NumberColumn(name="amount").model_dump() == {
        "kind": "number", "name": "amount", "fill": 0.0, "lower": None, "upper": None, "scale": "linear", "mean": 0.0,
        "std": 1.0,
    }  # fmt: skip
    assert CategoryColumn(name="c", categories=("x",)).kind == "category"
    assert TableFrontEnd.model_validate({"columns": [NUMBER]}).kind == "table"
    assert TensorInput(item_shape=(3,)).model_dump() == {
        "modality": "tensor", "name": "input", "dtype": "float32", "item_shape": (3,),
    }  # fmt: skip


def test_an_item_that_a_message_cannot_hold_is_refused() -> None:
    fits = TensorSpec(name="x", dtype="uint8", item_shape=(2**31 - 1,))
    assert (fits.item_bytes, fits.meaning) == (2**31 - 1, "")
    assert TensorSpec(name="x", dtype="float32", item_shape=(3, 5)).item_bytes == 60
    assert TensorSpec(name="x", dtype="float64", item_shape=()).item_bytes == 8
    assert TensorSpec(name="x", dtype="int32", item_shape=(3,)).wire_dtype.str == "<i4"
    assert refusal(TensorSpec, {"name": "x", "dtype": "uint8", "item_shape": [2**31]}) == (
        "file: x has 2.15e+09 bytes an item; a message of gRPC holds 2 GiB"
    )


def test_an_items_dimensions_are_at_least_1_and_at_most_31_many() -> None:
    assert len(TensorInput(item_shape=(1,) * 31).item_shape) == 31
    assert refusal(TensorInput, {"item_shape": [1] * 32}).startswith("item_shape: Tuple should have at most 31 items")
    assert refusal(TensorInput, {"item_shape": [2, 0]}) == "item_shape.1: Input should be greater than or equal to 1"


def test_an_element_type_is_one_that_models_take() -> None:
    for dtype in ("uint8", "int32", "int64", "float32", "float64"):
        assert TensorInput.model_validate({"item_shape": [1], "dtype": dtype}).dtype == dtype
    assert refusal(TensorInput, {"item_shape": [1], "dtype": "complex64"}).startswith("dtype: Input should be")


def test_what_the_graphs_input_is_for_each_modality() -> None:
    assert ImageInput.model_validate(IMAGE).tensor() == TensorSpec(
        name="image", dtype="uint8", item_shape=(4, 5, 3), meaning="pixels, 0..255, channels last"
    )
    assert audio().tensor() == TensorSpec(
        name="waveform", dtype="float32", item_shape=(800,), meaning="one channel of sound at 8000 Hz, -1..1"
    )
    assert TableInput.model_validate({"front_end": {"columns": [NUMBER, CATEGORY]}}).tensor() == TensorSpec(
        name="record", dtype="float32", item_shape=(2,), meaning="one row of columns amount, country; NaN where missing"
    )
    assert TensorInput(name="x", dtype="int64", item_shape=(2,)).tensor() == TensorSpec(
        name="x", dtype="int64", item_shape=(2,), meaning="the model's own tensor"
    )


def test_constants_are_one_or_one_for_each_channel_or_mel_band() -> None:
    for count in (1, 3):
        constants = {"mean": (0.5,) * count, "std": (0.5,) * count}
        assert ImageInput.model_validate(IMAGE | {"front_end": constants}).front_end.mean == (0.5,) * count
    assert refusal(ImageInput, IMAGE | {"front_end": {"mean": [0.5, 0.5]}}) == (
        "file: mean has 2 values; give 1, or one for each of the 3 channels"
    )
    assert refusal(ImageInput, IMAGE | {"front_end": {"std": [0.5, 0.5]}}) == (
        "file: std has 2 values; give 1, or one for each of the 3 channels"
    )
    assert log_mel(mean=(0.5,) * 16, std=(0.5,) * 16).mean == (0.5,) * 16
    for name in ("mean", "std"):
        assert not_a_sound(**{name: (0.5,) * 2}) == (
            f"front_end.log_mel: {name} has 2 values; give 1, or one for each of the 16 mel bands"
        )


def test_one_number_of_resize_is_that_of_the_shorter_side_and_crop_is_height_and_width() -> None:
    cropped = ImageInput.model_validate({"channels": 3, "resize": 256, "crop": 224})
    assert (cropped.height, cropped.width, cropped.resize, cropped.fit) == (224, 224, (256,), "shorter")
    assert cropped == ImageInput(height=224, width=224, channels=3, resize=(256,), fit="shorter")
    assert cropped == ImageInput.model_validate({"channels": 3, "resize": [256], "crop": [224], "height": 224})
    assert cropped == ImageInput.model_validate_json(cropped.model_dump_json())
    assert ImageInput.model_validate(IMAGE | {"resize": [9, 8]}).fit == "stretch"
    assert ImageInput.model_validate(IMAGE | {"resize": 9, "fit": "stretch"}).fit == "stretch"
    oblong = ImageInput.model_validate({"channels": 1, "crop": [3, 4], "pad": 7})
    assert (oblong.height, oblong.width, oblong.pad) == (3, 4, (7,))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"crop": 5}, "crop=5 and height=4 contradict each other; leave one of them out"),
        ({"crop": [4, 6]}, "crop=4/6 and width=5 contradict each other; leave one of them out"),
        ({"crop": "centre"}, "crop is one number of pixels, or height and width, as in crop=224 or crop=224/320"),
        ({"crop": [1, 2, 3]}, "crop is one number of pixels, or height and width, as in crop=224 or crop=224/320"),
        ({"fit": "shorter"}, "fit=shorter does not say to how many pixels; give resize too, as in resize=256"),
        ({"filter": "lanczos", "antialias": False}, "antialias=false is for bilinear and bicubic, and the filter is lanczos"),
        ({"pad": [1, 2]}, "pad has 2 values; give 1, or one for each of the 3 channels"),
        ({"channels": 4, "front_end": {"order": "bgr"}}, "order=bgr is for 3 channels, and there are 4; leave it out"),
    ],
)
def test_what_contradicts_itself_in_a_description_of_images(fields: dict[str, Any], says: str) -> None:
    assert refusal(ImageInput, IMAGE | fields).startswith(f"file: {says}")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"resize": [1, 2, 3]}, "resize"),
        ({"resize": 0}, "resize.0"),
        ({"pad": 256}, "pad.0"),
        ({"pad": -1}, "pad.0"),
        ({"fit": "fill"}, "fit"),
        ({"filter": "cubic"}, "filter"),
        ({"front_end": {"order": "grb"}}, "front_end.order"),
        ({"front_end": {"layout": "chw"}}, "front_end.layout"),
        ({"front_end": {"range": "0..2"}}, "front_end.range"),
    ],
)
def test_values_that_a_description_of_images_does_not_have(fields: dict[str, Any], field: str) -> None:
    assert refusal(ImageInput, IMAGE | fields).startswith(f"{field}: ")


def test_the_short_form_of_images_knows_crop() -> None:
    fields = ImageInput.fields_of("channels=3,crop=224/320,resize=256,mean=0.5")
    assert ImageInput.model_validate(fields) == ImageInput(
        height=224, width=320, channels=3, resize=(256,), fit="shorter", front_end=ImageFrontEnd(mean=(0.5,))
    )
    with pytest.raises(ValueError, match="unknown key 'size'"):
        ImageInput.fields_of("size=224")


def test_channels_of_pictures_are_named_in_the_order_of_the_network() -> None:
    def colours(channels: int, order: str = "rgb") -> tuple[str, ...]:
        return ImageInput.model_validate(IMAGE | {"channels": channels, "front_end": {"order": order}}).colours()

    assert colours(1) == ("grey",)
    assert colours(2) == ("0", "1")
    assert (colours(3), colours(3, "bgr")) == (("red", "green", "blue"), ("blue", "green", "red"))
    assert colours(4) == ("red", "green", "blue", "alpha")


def test_what_is_done_to_a_picture_in_words() -> None:
    def words(**fields: Any) -> str:
        return ImageInput.model_validate(IMAGE | fields).preparation()

    assert words() == (
        "a picture is turned upright and stretched to 4 x 5 (bilinear, antialiased); the central 4 x 5 pixels (height x width) "
        "are taken, with 0 around them where it is smaller"
    )
    assert "resized to 6 on its shorter side (bicubic, not antialiased)" in words(resize=6, filter="bicubic", antialias=False)
    assert "resized to cover 6 x 7 (nearest, not antialiased)" in words(resize=[6, 7], fit="shorter", filter="nearest")
    assert words(fit="letterbox", pad=[1, 2, 3]).endswith("are taken, with 1/2/3 around them where it is smaller")
    assert "resized to fit into 6 x 6 (" in words(resize=6, fit="letterbox")
    assert audio().preparation() == ""


def test_how_many_frames_a_sound_has() -> None:
    plain = log_mel(n_fft=256, hop_length=80)
    assert [plain.frames(samples) for samples in (0, 255, 256, 335, 336)] == [0, 0, 1, 1, 2]
    centred = log_mel(n_fft=256, hop_length=80, center=True)
    assert [centred.frames(samples) for samples in (0, 79, 80, 160)] == [1, 1, 2, 3]
    assert log_mel(n_fft=255, hop_length=80, center=True).frames(1) == 1
    assert log_mel(n_fft=255, hop_length=80, center=True).frames(0) == 0


def test_mel_bands_lie_within_what_the_sample_rate_holds() -> None:
    assert log_mel().band(8000) == (0.0, 4000.0)
    assert log_mel(f_min=100.0, f_max=4000.0).band(8000) == (100.0, 4000.0)
    for f_min, f_max in ((100.0, 100.0), (200.0, 100.0), (0.0, 4000.1)):
        assert not_a_sound(f_min=f_min, f_max=f_max) == (
            f"file: mel bands from f_min {f_min:g} to f_max {f_max:g} Hz do not lie within 0 to 4000 Hz, half the sample rate"
        )


def test_an_analysis_window_is_no_longer_than_the_transform() -> None:
    assert log_mel(win_length=256).win_length == 256
    assert not_a_sound(win_length=257) == "front_end.log_mel: win_length 257 is over n_fft 256"


def test_a_window_of_sound_holds_a_frame() -> None:
    assert audio(window_samples=256, hop_samples=1).window_samples == 256
    assert not_a_sound(window_samples=255, hop_samples=1) == "file: window_samples 255 is less than n_fft 256"
    assert audio(window_samples=1, hop_samples=1, center=True).window_samples == 1


def test_a_window_that_is_reflected_at_its_ends_is_long_enough_for_that() -> None:
    assert audio(window_samples=129, hop_samples=1, center=True, pad_mode="reflect").window_samples == 129
    assert not_a_sound(window_samples=128, hop_samples=1, center=True, pad_mode="reflect") == (
        "file: window_samples 128 cannot be padded with 128 reflected samples; use longer windows, or pad_mode constant"
    )


def test_channels_that_belong_together_are_at_most_as_many_as_a_sound_may_have() -> None:
    assert audio(channels=MAX_CHANNELS).tensor().item_shape == (MAX_CHANNELS, 800)
    assert not_a_sound(channels=MAX_CHANNELS + 1) == f"channels: Input should be less than or equal to {MAX_CHANNELS}"


def test_a_description_of_sound_is_taken_as_it_is_and_nothing_else_is_one() -> None:
    described = audio(n_mels=8)
    assert AudioInput.model_validate(described) is described
    with pytest.raises(ValidationError, match="valid dictionary"):
        AudioInput.model_validate(["sound"])


def test_no_sound_is_skipped_between_windows() -> None:
    assert audio(window_samples=800, hop_samples=800).window_format() == WindowFormat(8000, 800, 800)
    assert audio(window_samples=800, hop_samples=300).window_format() == WindowFormat(8000, 800, 300)
    assert not_a_sound(hop_samples=801) == "file: hop_samples 801 is over window_samples 800: sound would be skipped"

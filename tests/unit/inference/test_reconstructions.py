"""Reconstructions become pictures and sounds again, whatever the front end did."""

from __future__ import annotations

import io
from itertools import product
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from support.sounds import SOUND
from support.tables import TRANSFER

from avizor_export.front_ends.build import front_end_of
from avizor_inference.errors import InvalidInput
from avizor_inference.items.decode import decode_item
from avizor_inference.items.images import encode_png
from avizor_inference.items.input_spec import AudioInput, ImageFrontEnd, ImageInput, InputSpec, WaveformFrontEnd
from avizor_inference.items.join_windows import join_windows
from avizor_inference.items.kinds.audio import PcmSound
from avizor_inference.items.wav_writer import encode_wav

CONSTANTS: dict[str, tuple[Any, Any]] = {
    "0..1": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "-1..1": ((0.5, -0.1, 0.0), (0.5, 1.0, 2.0)),
    "0..255": ((123.7, 116.3, 103.5), (58.4,)),
}


def image(channels: int, **front_end: Any) -> ImageInput:
    return ImageInput(height=7, width=5, channels=channels, front_end=ImageFrontEnd(**front_end))


def pixels(channels: int) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256, (7, 5, channels)).astype(np.uint8)
    values[0, 0], values[0, 1] = 0, 255
    return values


@pytest.mark.parametrize(
    "spec",
    [
        *(
            image(3, order=order, layout=layout, range=range, mean=mean, std=std)
            for order, layout, (range, (mean, std)) in product(("rgb", "bgr"), ("nchw", "nhwc"), CONSTANTS.items())
        ),
        image(1, mean=(0.5,), std=(0.25,)),
        image(4, layout="nhwc", range="-1..1"),
    ],
    ids=repr,
)
def test_the_features_of_a_picture_become_that_picture(spec: ImageInput) -> None:
    picture = pixels(spec.channels)
    features = front_end_of(spec).module()(torch.from_numpy(picture[None])).numpy()[0]
    np.testing.assert_array_equal(spec.to_picture()(features), picture)
    with Image.open(io.BytesIO(encode_png(spec.to_picture()(features)))) as png:
        assert png.format == "PNG"
        np.testing.assert_array_equal(np.asarray(png).reshape(picture.shape), picture)


@pytest.mark.parametrize(("range", "low", "high"), [("0..1", 0.0, 1.0), ("-1..1", -1.0, 1.0), ("0..255", 0.0, 255.0)])
def test_the_constants_of_a_picture_are_on_the_scale_of_its_range(range: str, low: float, high: float) -> None:
    mean, std = (np.array(values, np.float32) for values in CONSTANTS[range])
    spec, picture = image(3, layout="nhwc", range=range, mean=CONSTANTS[range][0], std=CONSTANTS[range][1]), pixels(3)
    features = (low + picture / 255 * (high - low) - mean) / std
    ours = front_end_of(spec).module()(torch.from_numpy(picture[None])).numpy()[0]
    np.testing.assert_allclose(ours, features, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(spec.to_picture()(features), picture)


def test_what_is_darker_than_black_or_brighter_than_white_is_clipped() -> None:
    features = np.array([-0.2, -0.001, 0.5, 1.001, 7.0], np.float32).reshape(1, 1, 5)
    assert image(1).to_picture()(features).ravel().tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (image(2), "no picture has 2 channels; ask for the tensor"),
        (SOUND, "a model that takes audio reconstructs no picture"),
        (TRANSFER, "a model that takes table reconstructs no picture"),
    ],
)
def test_no_picture_is_made_of_what_is_none(spec: InputSpec, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        spec.to_picture()
    assert caught.value.field == "format"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SOUND, r"the output of its front end \(log_mel\), from which no sound can be computed, because the phase is lost"),
        (image(3), "a model that takes image reconstructs no sound"),
    ],
)
def test_no_sound_is_made_of_what_is_none(spec: InputSpec, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        spec.to_samples()
    assert caught.value.field == "format"


def test_a_value_that_is_not_finite_is_neither_a_pixel_nor_a_sample() -> None:
    with pytest.raises(InvalidInput, match="not a finite number"):
        image(1).to_picture()(np.full((1, 7, 5), np.nan))
    spec = AudioInput(sample_rate=8000, window_samples=10, hop_samples=10, front_end=WaveformFrontEnd())
    with pytest.raises(InvalidInput, match="not a finite number"):
        spec.to_samples()(np.full((1, 1, 10), np.inf))


@pytest.mark.parametrize(("channels", "together"), list(product((1, 2, 3), (False, True))))
@pytest.mark.parametrize("samples", [1, 60, 100, 101, 149, 150, 275])
def test_the_windows_of_a_recording_join_to_the_recording(channels: int, together: bool, samples: int) -> None:
    spec = AudioInput(
        sample_rate=8000,
        window_samples=100,
        hop_samples=50,
        channels=channels if together else 1,
        front_end=WaveformFrontEnd(layout="NCS" if together else "NS"),
    )
    levels = np.random.default_rng(samples).integers(-32768, 32768, (samples, channels)).astype("<i2")
    item = decode_item(PcmSound("s16le", 8000, channels, levels.tobytes()), spec)
    features = front_end_of(spec).module()(torch.from_numpy(item.rows)).numpy()
    joined = join_windows(spec.to_samples()(features), [span for span in item.spans if span])
    np.testing.assert_array_equal(joined, levels.T / np.float32(32768))
    written, rate = soundfile.read(io.BytesIO(encode_wav(joined, 8000)), dtype="int16", always_2d=True)
    assert rate == 8000
    np.testing.assert_array_equal(written, levels)


def test_overlapping_windows_are_averaged_and_what_is_too_loud_is_clipped() -> None:
    spec = AudioInput(sample_rate=8000, window_samples=4, hop_samples=2, front_end=WaveformFrontEnd())
    item = decode_item(PcmSound("f32le", 8000, 1, np.zeros(7, "<f4").tobytes()), spec)
    spans = [span for span in item.spans if span]
    assert [span.start_sample for span in spans] == [0, 2, 3]
    windows = np.array([[1, 1, 1, 1], [2, 2, 2, 2], [6, 6, 6, 6]], np.float32)[:, None]
    joined = join_windows(windows, spans)
    np.testing.assert_array_equal(joined, np.array([[1, 1, 1.5, 3, 4, 4, 6]], np.float32))
    written, _ = soundfile.read(io.BytesIO(encode_wav(joined - 2, 8000)), dtype="int16")
    assert written.tolist() == [-32768, -32768, -16384, 32767, 32767, 32767, 32767]

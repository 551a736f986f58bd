"""items/images.py: a picture of any size becomes the pixels that torchvision's transforms make of it."""

from __future__ import annotations

import io
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from avizor_inference.errors import MediaError
from avizor_inference.items.images import MAX_PIXELS, decode_image
from avizor_inference.items.input_spec import ImageInput

# Height and width: tall, wide, odd, smaller than the crop, of the crop's size, of the resized size.
SIZES = [(1, 1), (2, 190), (190, 2), (28, 28), (32, 32), (33, 27), (64, 43), (43, 65), (20, 19), (120, 161), (29, 29)]
FILTERS = ["bilinear", "bicubic", "nearest", "box", "hamming", "lanczos"]
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def noise(height: int, width: int, channels: int = 3) -> Image.Image:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def described(channels: int = 3, **fields: Any) -> ImageInput:
    return ImageInput.model_validate({"channels": channels, **fields})


def ours(image: Image.Image, spec: ImageInput) -> NDArray[np.uint8]:
    return decode_image(encoded(image), spec)


def theirs(image: Image.Image, resize: Any, crop: Any, filter: str = "bilinear", channels: int = 3) -> NDArray[np.uint8]:
    """What torchvision's transforms return for the picture as ImageFolder opens it."""
    steps = [transforms.Resize(resize, InterpolationMode[filter.upper()]), transforms.CenterCrop(crop)]
    pixels = np.asarray(transforms.Compose(steps)(image.convert(MODES[channels])))
    return pixels.reshape(*pixels.shape[:2], channels)


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("channels", MODES)
def test_shorter_side_and_central_crop_equal_torchvisions_bit_for_bit(channels: int, filter: str) -> None:
    for size, (resize, crop) in product(SIZES, [(32, 28), (33, 28), (32, 27), (20, 28), (28, 28)]):
        image = noise(*size, channels)
        spec = described(channels, resize=resize, crop=crop, filter=filter)
        np.testing.assert_array_equal(ours(image, spec), theirs(image, resize, crop, filter, channels), f"{size} {spec}")


def test_the_sizes_of_imagenet_equal_torchvisions_bit_for_bit() -> None:
    for size, filter in product([(375, 500), (500, 333), (600, 801), (100, 90), (224, 224)], ["bilinear", "bicubic"]):
        np.testing.assert_array_equal(
            ours(noise(*size), described(resize=256, crop=224, filter=filter)), theirs(noise(*size), 256, 224, filter)
        )


def test_stretching_equals_torchvisions_resize_to_height_and_width() -> None:
    for size in SIZES:
        image = noise(*size)
        for resize, crop in (((30, 34), (30, 34)), ((30, 34), (28, 20)), ((20, 24), (28, 20))):
            np.testing.assert_array_equal(ours(image, described(resize=resize, crop=crop)), theirs(image, resize, crop))
        plain = described(height=30, width=34)
        np.testing.assert_array_equal(ours(image, plain), theirs(image, (30, 34), (30, 34)))


def test_every_mode_of_a_file_is_converted_as_imagefolder_converts_it() -> None:
    colours = noise(40, 50)
    files = [
        colours.convert("L"),
        colours.convert("1"),
        colours.convert("P", palette=Image.Palette.ADAPTIVE),
        colours.convert("LA"),
        noise(40, 50, 4),
    ]
    for image in files:
        np.testing.assert_array_equal(ours(image, described(resize=32, crop=28)), theirs(image, 32, 28), image.mode)
    cmyk = encoded(colours.convert("CMYK"), "JPEG")
    expected = theirs(Image.open(io.BytesIO(cmyk)), 32, 28)
    np.testing.assert_array_equal(decode_image(cmyk, described(resize=32, crop=28)), expected)


def test_16_bits_are_scaled_to_8_before_they_are_resized() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (40, 50)).astype(np.uint16)
    scaled = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    np.testing.assert_array_equal(
        ours(Image.fromarray(values), described(1, resize=32, crop=28)), theirs(scaled, 32, 28, channels=1)
    )


def test_a_photograph_on_its_side_is_turned_upright_first() -> None:
    upright, exif = noise(40, 60), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    file = encoded(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    np.testing.assert_array_equal(decode_image(file, described(resize=32, crop=28)), theirs(upright, 32, 28))


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
def test_without_antialiasing_it_is_torchvisions_resize_of_a_tensor(filter: str) -> None:
    """Sums in float32 that lie within a rounding of a half differ: 37 values of 8 million, and 205 with bicubic, by 1."""
    differences = []
    for size, (resize, crop) in product(SIZES, [(32, 28), (20, 28), ((30, 34), (30, 20))]):
        image = noise(*size)
        spec = described(resize=resize, crop=crop, filter=filter, antialias=False)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        resized = transforms.Resize(resize, InterpolationMode[filter.upper()], antialias=False)(tensor)
        expected = transforms.CenterCrop(crop)(resized).permute(1, 2, 0).numpy()
        differences.append(np.abs(ours(image, spec).astype(int) - expected).ravel())
    everything = np.concatenate(differences)
    assert everything.max() <= 1
    assert (everything > 0).mean() < 1e-4


def test_a_letterbox_keeps_the_whole_picture_and_its_proportions() -> None:
    tall = ours(noise(40, 20), described(height=20, width=21, fit="letterbox", pad=[1, 2, 3]))
    left, right = tall[:, :5], tall[:, 15:]  # 11 columns of padding: the fifth and the sixth
    assert (left.reshape(-1, 3) == [1, 2, 3]).all()
    assert (right.reshape(-1, 3) == [1, 2, 3]).all()
    np.testing.assert_array_equal(tall[:, 5:15], theirs(noise(40, 20), (20, 10), (20, 10)))
    wide = ours(noise(10, 40), described(crop=20, fit="letterbox", pad=114, antialias=False))
    assert (wide[:7] == 114).all()
    assert (wide[12:] == 114).all()
    assert (wide[7:12] != 114).mean() > 0.9
    cut = ours(noise(40, 40), described(resize=30, crop=20, fit="letterbox"))
    np.testing.assert_array_equal(cut, theirs(noise(40, 40), 30, 20))


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000)])
def test_a_picture_that_would_grow_beyond_the_limit_is_refused_before_it_does(size: tuple[int, int]) -> None:
    image = Image.new("L", size)
    with pytest.raises(
        MediaError, match=f"resizing the image of {size[0]} x {size[1]} pixels to .* takes more than {MAX_PIXELS:,}"
    ):
        ours(image, described(1, resize=2048, crop=224))
    assert ours(image, described(1, resize=2048, crop=224, antialias=False)).shape == (224, 224, 1)


def test_a_tall_line_does_not_become_wide_before_it_is_shortened() -> None:
    with pytest.raises(MediaError, match="resizing the image of 1 x 65000 pixels to 1024 x 1024 takes more than"):
        ours(Image.new("L", (1, 65_000)), described(1, height=1024, width=1024))

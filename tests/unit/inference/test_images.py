"""items/images.py: encoded images as pixels: every mode that a decoder gives keeps its grey values, or is refused."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.media import claimed_png

from avizor_inference.errors import MediaError
from avizor_inference.items.images import check_header, decode_image
from avizor_inference.items.input_spec import ImageInput

GREY = np.array([[0, 25700], [51400, 65535]], np.uint16)
AS_BYTES = [[0, 100], [200, 255]]


def encoded(pixels: NDArray[np.generic], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def spec(channels: int) -> ImageInput:
    return ImageInput(height=2, width=2, channels=channels)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_of_grey_are_scaled_to_8(kind: str) -> None:
    assert decode_image(encoded(GREY, kind), spec(1))[..., 0].tolist() == AS_BYTES
    rgba = decode_image(encoded(GREY, kind), spec(4))
    assert [rgba[..., channel].tolist() for channel in range(3)] == [AS_BYTES] * 3
    assert (rgba[..., 3] == 255).all()


def test_16_bits_of_grey_with_the_high_byte_first() -> None:
    buffer = io.BytesIO()
    Image.frombytes("I;16B", (2, 2), GREY.astype(">u2").tobytes()).save(buffer, "TIFF")
    assert decode_image(buffer.getvalue(), spec(1))[..., 0].tolist() == AS_BYTES


def test_every_value_of_16_bits_goes_to_the_nearest_of_8() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = decode_image(encoded(values, "PNG"), ImageInput(height=256, width=256, channels=1))
    np.testing.assert_array_equal(pixels[..., 0], np.rint(values / 257))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bits_have_no_known_scale_and_are_refused(dtype: type[np.generic]) -> None:
    with pytest.raises(MediaError, match="the image has 32 bits a pixel; save it with 8 or 16, or send the model's own tensor"):
        decode_image(encoded((GREY / 65535).astype(dtype), "TIFF"), spec(1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_the_six_formats_are_read_and_a_part_of_a_file_is_not(kind: str) -> None:
    whole = encoded(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8), kind)
    assert decode_image(whole, spec(3)).shape == (2, 2, 3)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(MediaError):
            decode_image(whole[: int(len(whole) * share)], spec(3))


@pytest.mark.parametrize("source", [b"", io.BytesIO()])
def test_an_empty_file_is_called_so(source: bytes | io.BytesIO) -> None:
    with pytest.raises(MediaError, match=r"not an image that can be read \(it is empty\)"):
        decode_image(source, spec(3))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "GIF"])
def test_a_file_that_was_cut_off_is_called_so(kind: str) -> None:
    whole = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8), kind)
    with pytest.raises(MediaError, match=r"^the image was cut off, or is damaged \(image file is truncated"):
        decode_image(whole[: len(whole) // 2], spec(3))


@pytest.mark.parametrize("as_file", [False, True])
def test_a_webp_that_was_cut_off_is_called_so(as_file: bool) -> None:
    whole = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8), "WEBP")
    for damaged, words in (
        (whole[: len(whole) // 2], "^the image was cut off, or is damaged"),
        (whole[:12] + bytes(len(whole) - 12), "^(?!.*cut off)"),
    ):
        with pytest.raises(MediaError, match=words):
            decode_image(io.BytesIO(damaged) if as_file else damaged, spec(3))


@pytest.mark.parametrize("size", [(1, 64_000_000), (64_000_000, 1), (65_536, 2)])
def test_a_picture_that_is_too_long_on_a_side_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(MediaError, match=f"has {size[0]} x {size[1]} pixels; at most 65,535 on a side are decoded; cut it"):
        decode_image(claimed_png(*size), spec(1))


@pytest.mark.parametrize(
    ("size", "said"),
    [((12_000, 12_000), "12000 x 12000"), ((60_000, 60_000), "more than 64,000,000"), ((2**31 - 1, 9), "more than")],
)
def test_a_picture_of_too_many_pixels_is_refused_in_the_same_words(size: tuple[int, int], said: str) -> None:
    """Pillow refuses the largest ones itself, before it tells their size."""
    with pytest.raises(MediaError, match=f"^the image has {said}.* pixels; at most 64,000,000 are decoded; make it smaller"):
        decode_image(claimed_png(*size), spec(1))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 2])
def test_tags_that_are_damaged_cost_nothing_and_say_nothing(count: int) -> None:
    buffer = io.BytesIO()
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHII", count, 0x10E, 2, 100, 5000)  # it ends before its data
    Image.new("L", (8, 8), 7).save(buffer, "JPEG", exif=exif)
    assert decode_image(buffer.getvalue(), spec(1)).shape == (2, 2, 1)
    check_header(buffer.getvalue(), spec(1))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_a_decoder_prints_nothing_by_itself_since_it_knows_no_name_of_a_file(
    compression: str, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "TIFF", compression=compression)
    whole = buffer.getvalue()
    reasons = 0
    for at in range(200, len(whole) - 40, 400):
        try:
            decode_image(whole[:at] + bytes(40) + whole[at + 40 :], spec(3))
        except MediaError:
            reasons += 1
    assert (reasons > 0, capfd.readouterr()) == (True, ("", ""))


def test_colours_of_lab_are_refused_with_what_to_do() -> None:
    buffer = io.BytesIO()
    Image.new("LAB", (8, 8)).save(buffer, "TIFF")
    with pytest.raises(MediaError, match=r"^the image has the colours of Lab, which are not converted; save it as RGB"):
        decode_image(buffer.getvalue(), spec(3))


@pytest.mark.parametrize("kind", ["EPS", "TGA", "ICO", "JPEG2000", "PPM", "PCX", "SGI", "IM", "DDS"])
def test_other_formats_never_reach_their_decoders(kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (255, 0, 0)).save(buffer, kind)
    with pytest.raises(MediaError, match=r"not an image that can be read \(PNG, JPEG, WebP, BMP, TIFF and GIF are\)"):
        decode_image(buffer.getvalue(), spec(3))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_several_pictures_in_a_file_are_refused(kind: str) -> None:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 100, 200)]
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    with pytest.raises(MediaError, match="holds 3 pictures"):
        decode_image(buffer.getvalue(), spec(3))


def test_the_photograph_of_a_camera_s_mpo_is_read() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 0, 0)).save(
        buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4), (0, 0, 200))], quality=100
    )
    assert abs(int(decode_image(buffer.getvalue(), spec(3))[0, 0, 0]) - 200) < 3


def test_transparency_is_dropped_as_in_training() -> None:
    """`Image.convert("RGB")` of Pillow and torchvision: the colour behind the transparent pixels shows."""
    pixels = np.array([[[10, 20, 30, 0], [40, 50, 60, 255]], [[70, 80, 90, 128], [1, 2, 3, 4]]], np.uint8)
    np.testing.assert_array_equal(decode_image(encoded(pixels, "PNG"), spec(3)), pixels[..., :3])

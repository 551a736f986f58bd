"""Turn an encoded image into the pixels that a model takes: decode, turn upright, bring to its channels and size.

This is the one place for what cannot be in the graph. The pixels are those of torchvision's transforms on an image of Pillow,
bit for bit, where the image is upright and has 8 bits a channel.
"""

from __future__ import annotations

import ctypes
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, _imaging

from avizor_inference.arrays import Pixels
from avizor_inference.error_text import one_line
from avizor_inference.errors import MediaError
from avizor_inference.items.image_geometry import PixelFormat, Size, first_pixel, resized_size
from avizor_inference.items.interpolation import Part, interpolate

# Pillow's mode for a number of channels.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

# What is read. Pillow knows forty more, and hands some of them to other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_NO_IMAGE, _READ = "not an image that can be read ({})", "PNG, JPEG, WebP, BMP, TIFF and GIF are"

# A picture of more pixels than this is refused before it is decoded: a small file can unpack to gigabytes.
MAX_PIXELS = 64_000_000
_TOO_LARGE = f"the image has {{}}; at most {MAX_PIXELS:,} are decoded; make it smaller, or cut it into parts"

# Pixels on a side: as many as a JPEG can have. For each row Pillow holds more than its pixels, so a narrow one costs gigabytes.
MAX_SIDE = 65_535

# libtiff prints by itself what it finds wrong, without the name of the file. Pillow raises that it has failed.
with suppress(OSError, AttributeError):  # a Pillow without it
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def decode_image(source: bytes | BinaryIO, spec: PixelFormat) -> NDArray[np.uint8]:
    """Return uint8[height, width, channels], resized, cut or padded as the description says. Raises MediaError."""
    return fitted(open_image(source, spec), spec)


def open_image(source: bytes | BinaryIO, spec: PixelFormat) -> Image.Image:
    """Decode an image in its own size: upright, 8 bits, with the model's channels. Raises MediaError.

    A file of several pictures (an animation, pages) is refused: one of them is not the whole.
    """
    mode = _mode_of(spec)
    with image_errors(source):
        image = _opened(source)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)  # each copy of a large picture is hundreds of megabytes
        if image.mode == "LAB":  # Pillow can convert it only with a profile
            raise MediaError("the image has the colours of Lab, which are not converted; save it as RGB or grey")
        upright = _of_8_bits(image)
        return upright if upright.mode == mode else upright.convert(mode)


def check_header(source: bytes | BinaryIO, spec: PixelFormat) -> None:
    """Raise the MediaError of an image whose header tells that it cannot be decoded. Its pixels are not read."""
    _mode_of(spec)
    with image_errors(source):
        _refuse_32_bits(_opened(source))


def _mode_of(spec: PixelFormat) -> str:
    if mode := _MODES.get(spec.channels):
        return mode
    raise MediaError(f"no image has {spec.channels} channels; send the model's own tensor")


@contextmanager
def image_errors(source: bytes | BinaryIO) -> Iterator[None]:
    """Raise what Pillow raises of an image as MediaError. Its warnings, of tags and sizes, name no file, and are not shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnidentifiedImageError as error:
        raise MediaError(_NO_IMAGE.format("it is empty" if _is_empty(source) else _READ)) from error
    except (MediaError, MemoryError):
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, which it looks at before it tells the size
        raise MediaError(_TOO_LARGE.format(f"more than {MAX_PIXELS:,} pixels")) from error
    except Exception as error:  # a broken file can raise nearly anything from a decoder
        if "truncated" in str(error).lower() or _is_cut_off_webp(source):
            raise MediaError(f"the image was cut off, or is damaged ({one_line(error)})") from error
        if str(error) == "decoder error -2":  # of Pillow for anything that libtiff finds wrong
            raise MediaError("the image is damaged: its decoder gives no other reason") from error
        raise MediaError(f"the image cannot be decoded ({type(error).__name__}: {one_line(error)})") from error


def _as_file(source: bytes | BinaryIO) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _is_empty(source: bytes | BinaryIO) -> bool:
    file = _as_file(source)
    return file.seekable() and file.seek(0, io.SEEK_END) == 0


def _is_cut_off_webp(source: bytes | BinaryIO) -> bool:
    """Return whether a file is WebP, and shorter than its header says. Pillow only says that it makes no decoder."""
    file = _as_file(source)
    if not file.seekable():
        return False
    file.seek(0)
    head = file.read(12)
    is_webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
    return is_webp and file.seek(0, io.SEEK_END) < 8 + int.from_bytes(head[4:8], "little")


def _opened(source: bytes | BinaryIO) -> Image.Image:
    """Read the header of an image. Raises MediaError for one that is too large, or of several pictures, or what Pillow does."""
    image = Image.open(_as_file(source), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise MediaError(_TOO_LARGE.format(f"{image.width} x {image.height} pixels"))
    if max(image.size) > MAX_SIDE:
        raise MediaError(
            f"the image has {image.width} x {image.height} pixels; at most {MAX_SIDE:,} on a side are decoded; cut it into "
            "parts"
        )
    _refuse_several(image)
    return image


def encode_png(pixels: Pixels) -> bytes:
    """Return a PNG of uint8[height, width, channels]: grey, RGB or RGBA."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels if pixels.shape[2] > 1 else pixels[..., 0])).save(buffer, "PNG")
    return buffer.getvalue()


def fitted(image: Image.Image, spec: PixelFormat) -> NDArray[np.uint8]:
    """Resize an image, and cut the model's pixels out of its centre; where it is smaller than them, it is padded.

    Raises MediaError if it would become huge.
    """
    height, width = resized_size((image.height, image.width), spec)
    top, left = first_pixel(height, spec.height), first_pixel(width, spec.width)
    if not spec.antialias:
        return _interpolated(np.asarray(image).reshape(image.height, image.width, -1), (height, width), (top, left), spec)
    _refuse_huge(image, (height, width))
    if (image.height, image.width) != (height, width):
        image = image.resize((width, height), Image.Resampling[spec.filter.upper()])
    if (height, width) != (spec.height, spec.width):
        resized = image
        image = Image.new(resized.mode, (spec.width, spec.height), _colour(spec))
        image.paste(resized, (-left, -top))
    return np.asarray(image, dtype=np.uint8).reshape(spec.height, spec.width, spec.channels)


def _interpolated(pixels: NDArray[np.uint8], size: Size, first: tuple[int, int], spec: PixelFormat) -> NDArray[np.uint8]:
    """Do the same without antialiasing. Only the pixels that are kept are computed. first: see `first_pixel`."""
    assert spec.filter in ("bilinear", "bicubic")  # the description was checked
    wanted = (spec.height, spec.width)
    rows, columns = (
        Part(old, new, max(start, 0), min(new, count))
        for old, new, start, count in zip(pixels.shape[:2], size, first, wanted, strict=True)
    )
    canvas = np.empty((*wanted, spec.channels), np.uint8)
    canvas[:] = spec.pad
    top, left = (max(-start, 0) for start in first)
    canvas[top : top + rows.count, left : left + columns.count] = interpolate(pixels, rows, columns, spec.filter)
    return canvas


def _colour(spec: PixelFormat) -> int | tuple[int, ...]:
    """Return the colour of the padding as Pillow takes it."""
    pad = spec.pad * spec.channels if len(spec.pad) == 1 else spec.pad
    return pad[0] if len(pad) == 1 else pad


def _refuse_huge(image: Image.Image, size: Size) -> None:
    """Raise MediaError if a picture grows beyond MAX_PIXELS. Pillow resizes the width first, then the height of the result."""
    height, width = size
    if max(height, image.height) * width > MAX_PIXELS:
        raise MediaError(
            f"resizing the image of {image.width} x {image.height} pixels to {width} x {height} takes more than {MAX_PIXELS:,} "
            "pixels; cut it into parts of less extreme proportions"
        )


def _refuse_several(image: Image.Image) -> None:
    """Raise MediaError for several pictures in a file. In an MPO the first is the photograph, and the others go with it."""
    pictures = getattr(image, "n_frames", 1)
    if pictures > 1 and image.format != "MPO":
        raise MediaError(f"the image file holds {pictures} pictures (frames or pages); save each as a separate file")


def _refuse_32_bits(image: Image.Image) -> None:
    if image.mode in ("I", "F"):
        raise MediaError("the image has 32 bits a pixel; save it with 8 or 16, or send the model's own tensor")


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Return the image with 8 bits a channel. Pillow clips more to 0..255 where it should scale it. Raises MediaError."""
    _refuse_32_bits(image)
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        values += 128
        values //= 257  # 65535 / 257 = 255
        return Image.fromarray(values.astype(np.uint8))
    return image

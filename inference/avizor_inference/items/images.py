"""Turn an encoded image into the pixels that a model takes: decode, turn upright, bring to its channels and size."""

from __future__ import annotations

import io
import warnings
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from avizor_inference.errors import MediaError

# Pillow's mode for a number of channels.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

# What is read. Pillow knows forty more, and hands some of them to other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")

# A picture of more pixels than this is refused before it is decoded: a small file can unpack to gigabytes.
MAX_PIXELS = 64_000_000


class PixelShape(Protocol):
    """Describes the picture that a model takes, as an ImageInput says it. height, width: in pixels."""

    height: int
    width: int
    channels: int


def decode_image(source: bytes | BinaryIO, spec: PixelShape) -> NDArray[np.uint8]:
    """Return uint8[height, width, channels], resized (bilinear, antialiased) if need be. Raises MediaError.

    A file of several pictures (an animation, pages) is refused: one of them is not the whole.
    """
    mode = _MODES.get(spec.channels)
    if mode is None:
        raise MediaError(f"no image has {spec.channels} channels; send the model's own tensor")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is the limit
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise MediaError(f"the image has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are decoded")
            _refuse_several(image)
            upright = _of_8_bits(ImageOps.exif_transpose(image)).convert(mode)
    except UnidentifiedImageError as error:
        raise MediaError("not an image that can be read (PNG, JPEG, WebP, BMP, TIFF and GIF are)") from error
    except MediaError:
        raise
    except Exception as error:  # a broken file can raise nearly anything from a decoder
        raise MediaError(f"the image cannot be decoded ({type(error).__name__}: {error})") from error
    if upright.size != (spec.width, spec.height):
        upright = upright.resize((spec.width, spec.height), Image.Resampling.BILINEAR)
    return np.asarray(upright, dtype=np.uint8).reshape(spec.height, spec.width, spec.channels)


def _refuse_several(image: Image.Image) -> None:
    """Raise MediaError for several pictures in a file. In an MPO the first is the photograph, and the others go with it."""
    pictures = getattr(image, "n_frames", 1)
    if pictures > 1 and image.format != "MPO":
        raise MediaError(f"the image file holds {pictures} pictures (frames or pages); save each as a file of its own")


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Return the image with 8 bits a channel. Pillow clips more to 0..255 where it should scale it. Raises MediaError."""
    if image.mode in ("I", "F"):
        raise MediaError("the image has 32 bits a pixel; save it with 8 or 16, or send the model's own tensor")
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))  # 65535 / 257 = 255
    return image

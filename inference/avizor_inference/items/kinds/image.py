"""Describe images, and turn a file of one into pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from avizor_inference.arrays import Array, Items, Pixels
from avizor_inference.errors import InvalidInput
from avizor_inference.items.image_geometry import Filter, Fit, Size, distortion
from avizor_inference.items.kinds.base import FileContent, ItemInput, OneRow
from avizor_inference.items.kinds.short_form import fields_of
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.strict_json import Strict

# What the pixels 0 and 255 become, before mean and std.
_RANGES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}

# Names of the colours, for a number of channels.
_COLOURS = {1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}

_Side = Annotated[int, Field(gt=0)]
_Level = Annotated[int, Field(ge=0, le=255)]


class ImageFrontEnd(Strict):
    """Describes the front end: uint8 pixels -> (pixel on the scale of `range` - mean) / std, as the network takes them.

    mean, std: one for all channels, or one for each in the network's order.
    """

    kind: Literal["image"] = "image"
    order: Literal["rgb", "bgr"] = Field(default="rgb", description="of the network's channels")
    layout: Literal["nchw", "nhwc"] = Field(default="nchw", description="of the network's input: channels first or last")
    range: Literal["0..1", "-1..1", "0..255"] = Field(default="0..1", description="what the pixels 0 and 255 become")
    mean: tuple[float, ...] = Field(default=(0.0,), description="per channel, on the scale of `range`")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), description="per channel, on the scale of `range`")

    @property
    def limits(self) -> tuple[float, float]:
        """Return what the pixels 0 and 255 become, before mean and std."""
        return _RANGES[self.range]

    def on_unit_scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the mean and the std that do the same to pixels on the scale 0..1."""
        low, high = self.limits
        mean = tuple((value - low) / (high - low) for value in self.mean)
        return mean, tuple(value / (high - low) for value in self.std)

    def picture_of(self, features: Array) -> Pixels:
        """Return the picture whose features these are, rounded and clipped to 0..255: the inverse of the front end.

        features: float[channels, height, width], or with the layout nhwc float[height, width, channels]. Raises InvalidInput
        for a value that is not a finite number.
        """
        if not np.isfinite(features).all():
            raise InvalidInput("the reconstruction holds a value that is not a finite number; ask for the tensor")
        mean, std = (np.array(values, dtype=np.float32) for values in self.on_unit_scale())
        values = features if self.layout == "nhwc" else np.moveaxis(features, 0, -1)
        levels: Pixels = np.clip(np.rint((values * std + mean) * 255), 0, 255).astype(np.uint8)
        return levels[..., ::-1] if self.order == "bgr" else levels


@dataclass(frozen=True)
class ImageFile(FileContent, OneRow):
    """Holds an encoded image: the bytes of a file, an open file, or a path."""

    name: ClassVar[str] = "image"
    noun: ClassVar[str] = "an image"
    several: ClassVar[str] = "images"
    plural: ClassVar[str] = "images"
    suffixes: ClassVar[frozenset[str]] = frozenset([".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"])
    more_suffixes: ClassVar[Mapping[str, str]] = dict.fromkeys(
        [".heic", ".heif", ".avif", ".jxl"], "convert them to JPEG or PNG, as with `magick mogrify -format jpg FILES`"
    )

    def row(self, spec: ItemInput) -> Items:
        """See OneRow."""
        return self._fitted(spec)[0]

    def noted_row(self, spec: ItemInput) -> tuple[Items, str]:
        """See OneRow."""
        assert isinstance(spec, ImageInput)  # it takes images
        row, size = self._fitted(spec)
        return row, distortion(size, spec)

    def count_rows(self, spec: ItemInput) -> int:
        """See Content."""
        from avizor_inference.items.images import check_header

        assert isinstance(spec, ImageInput)  # it takes images
        with self.open() as file:
            check_header(file, spec)
        return 1

    def _fitted(self, spec: ItemInput) -> tuple[Items, Size]:
        """Return the row, and the picture's own size, upright."""
        from avizor_inference.items.images import fitted, open_image  # Pillow is not loaded to read a manifest

        assert isinstance(spec, ImageInput)  # it takes images
        with self.open() as file:
            image = open_image(file, spec)
        return fitted(image, spec), (image.height, image.width)


class ImageInput(ItemInput):
    """Describes the input `image`: uint8[batch, height, width, channels], RGB, and how a picture of any size becomes it.

    fit: how it is resized. `stretch`: to `resize`, whatever its proportions. The others keep them. `shorter`: the shorter side
        to `resize`, or so that it covers that box. `letterbox`: so that it just fits into that box.
    resize: one number for a square, or height and width; the model's where it is left out. One number means `shorter`, unless
        `fit` says otherwise.
    Then the central height x width pixels are taken. `crop` may be given for both. pad: the colour around a smaller picture.
    """

    modality: Literal["image"] = "image"
    height: int = Field(gt=0, description="pixels")
    width: int = Field(gt=0, description="pixels")
    channels: int = Field(gt=0)
    resize: tuple[_Side, ...] = Field(default=(), max_length=2, description="pixels, before the centre is taken")
    fit: Fit = "stretch"
    filter: Filter = "bilinear"
    antialias: bool = True
    pad: tuple[_Level, ...] = Field(default=(0,), description="colour, red first")
    front_end: ImageFrontEnd = ImageFrontEnd()

    content: ClassVar[type[ImageFile]] = ImageFile

    @classmethod
    def fields_of(cls, text: str) -> dict[str, object]:
        """Return the fields of the short form, `crop` among them."""
        return fields_of(text, cls, ["crop"])

    @model_validator(mode="before")
    @classmethod
    def _read_shorthands(cls, given: Any) -> Any:
        """Replace `crop`, and lists that are written as one number; conclude from `resize` what `fit` is."""
        if not isinstance(given, dict):
            return given
        lists = ("crop", "resize", "pad")
        fields = {name: [value] if name in lists and isinstance(value, int) else value for name, value in given.items()}
        if "crop" in fields:
            _set_size(fields, fields.pop("crop"))
        if isinstance(resize := fields.get("resize"), list | tuple) and len(resize) == 1:
            fields.setdefault("fit", "shorter")
        return fields

    @model_validator(mode="after")
    def _lists_fit_the_channels(self) -> ImageInput:
        for name, values in (("mean", self.front_end.mean), ("std", self.front_end.std), ("pad", self.pad)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} has {len(values)} values; give 1, or one for each of the {self.channels} channels")
        if self.front_end.order == "bgr" and self.channels != 3:
            raise ValueError(f"order=bgr is for 3 channels, and there are {self.channels}; leave it out")
        return self

    @model_validator(mode="after")
    def _resizing_is_complete(self) -> ImageInput:
        if self.fit == "shorter" and not self.resize:
            raise ValueError("fit=shorter does not say to how many pixels; give resize too, as in resize=256")
        if not self.antialias and self.filter not in ("bilinear", "bicubic"):
            raise ValueError(f"antialias=false is for bilinear and bicubic, and the filter is {self.filter}; leave it out")
        return self

    def tensor(self) -> TensorSpec:
        """Return the graph's input."""
        shape = (self.height, self.width, self.channels)
        return TensorSpec(name="image", dtype="uint8", item_shape=shape, meaning="pixels, 0..255, channels last")

    def to_picture(self) -> Callable[[Array], Pixels]:
        """See ItemInput."""
        if self.channels not in _COLOURS:
            raise InvalidInput(f"no picture has {self.channels} channels; ask for the tensor", field="format")
        return self.front_end.picture_of

    def preparation(self) -> str:
        """See ItemInput."""
        smooth = "antialiased" if self.antialias and self.filter != "nearest" else "not antialiased"
        pad = "/".join(map(str, self.pad))
        return (
            f"a picture is turned upright and {self._resizing()} ({self.filter}, {smooth}); the central {self.height} x "
            f"{self.width} pixels (height x width) are taken, with {pad} around them where it is smaller"
        )

    def _resizing(self) -> str:
        height, width = (self.resize[0], self.resize[-1]) if self.resize else (self.height, self.width)
        if self.fit == "shorter" and len(self.resize) == 1:
            return f"resized to {height} on its shorter side"
        return {"stretch": "stretched to", "shorter": "resized to cover", "letterbox": "resized to fit into"}[self.fit] + (
            f" {height} x {width}"
        )

    def colours(self) -> tuple[str, ...]:
        """Return the names of the channels in the network's order; numbers where they have no names."""
        names = _COLOURS.get(self.channels, tuple(map(str, range(self.channels))))
        return names[::-1] if self.front_end.order == "bgr" else names


def _set_size(fields: dict[str, Any], crop: Any) -> None:
    """Set height and width to those of `crop`: one number, or height and width. Raises ValueError if others are given."""
    if not isinstance(crop, list | tuple) or len(crop) not in (1, 2) or not all(type(side) is int for side in crop):
        raise ValueError("crop is one number of pixels, or height and width, as in crop=224 or crop=224/320")
    for name, side in zip(("height", "width"), (crop[0], crop[-1]), strict=True):
        if fields.setdefault(name, side) != side:
            written = "/".join(map(str, crop))
            raise ValueError(f"crop={written} and {name}={fields[name]} contradict each other; leave one of them out")

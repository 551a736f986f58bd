"""Describe images, and turn a file of one into pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from avizor_inference.arrays import Items
from avizor_inference.items.kinds.base import FileContent, ItemInput, OneRow
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.strict_json import Strict


class ImageFrontEnd(Strict):
    """Describes the front end: uint8 pixels -> (pixel / 255 - mean) / std per channel, channels first."""

    kind: Literal["image"] = "image"
    mean: tuple[float, ...] = Field(default=(0.0,), description="per channel, on the 0..1 scale")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), description="per channel, on the 0..1 scale")


@dataclass(frozen=True)
class ImageFile(FileContent, OneRow):
    """Holds an encoded image: the bytes of a file, an open file, or a path."""

    name: ClassVar[str] = "image"
    noun: ClassVar[str] = "an image"
    plural: ClassVar[str] = "images"
    suffixes: ClassVar[frozenset[str]] = frozenset([".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"])

    def row(self, spec: ItemInput) -> Items:
        """See OneRow."""
        from avizor_inference.items.images import decode_image  # Pillow is not loaded to read a manifest

        assert isinstance(spec, ImageInput)  # it takes images
        with self.open() as file:
            return decode_image(file, spec)


class ImageInput(ItemInput):
    """Describes the input `image`: uint8[batch, height, width, channels]."""

    modality: Literal["image"] = "image"
    height: int = Field(gt=0, description="pixels")
    width: int = Field(gt=0, description="pixels")
    channels: int = Field(gt=0)
    front_end: ImageFrontEnd = ImageFrontEnd()

    content: ClassVar[type[ImageFile]] = ImageFile

    @model_validator(mode="after")
    def _constants_fit_the_channels(self) -> ImageInput:
        for name, values in (("mean", self.front_end.mean), ("std", self.front_end.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} has {len(values)} values; give 1, or one for each of the {self.channels} channels")
        return self

    def tensor(self) -> TensorSpec:
        """Return the graph's input."""
        shape = (self.height, self.width, self.channels)
        return TensorSpec(name="image", dtype="uint8", item_shape=shape, meaning="pixels, 0..255, channels last")

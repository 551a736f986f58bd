"""Images: their description, and how a file becomes pixels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.strict_json import Strict


class ImageFrontEnd(Strict):
    """uint8 pixels -> (pixel / 255 - mean) / std per channel, channels first."""

    kind: Literal["image"] = "image"
    mean: tuple[float, ...] = Field(default=(0.0,), description="per channel, on the 0..1 scale")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), description="per channel, on the 0..1 scale")


class ImageInput(Strict):
    """`image`: uint8[batch, height, width, channels]."""

    modality: Literal["image"] = "image"
    height: int = Field(gt=0, description="pixels")
    width: int = Field(gt=0, description="pixels")
    channels: int = Field(gt=0)
    front_end: ImageFrontEnd = ImageFrontEnd()

    @model_validator(mode="after")
    def _constants_fit_the_channels(self) -> ImageInput:
        for name, values in (("mean", self.front_end.mean), ("std", self.front_end.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} has {len(values)} values; give 1, or one for each of the {self.channels} channels")
        return self

    def tensor(self) -> TensorSpec:
        """The graph's input."""
        shape = (self.height, self.width, self.channels)
        return TensorSpec(name="image", dtype="uint8", item_shape=shape, meaning="pixels, 0..255, channels last")

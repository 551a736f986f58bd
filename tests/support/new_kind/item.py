"""The kind that test_new_kind.py adds: films without sound. It becomes inference/avizor_inference/items/kinds/video.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from avizor_inference.arrays import Items
from avizor_inference.errors import MediaError
from avizor_inference.items.kinds.base import FileContent, ItemInput, OneRow
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.strict_json import Strict


class VideoFrontEnd(Strict):
    """uint8 pixels -> (pixel / 255 - mean) / std."""

    kind: Literal["video"] = "video"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class VideoFile(FileContent, OneRow):
    """A file of grey frames, one after the other, a byte a pixel."""

    name: ClassVar[str] = "video"
    noun: ClassVar[str] = "a video"
    plural: ClassVar[str] = "videos"
    suffixes: ClassVar[frozenset[str]] = frozenset([".film"])

    def row(self, spec: ItemInput) -> Items:
        """See OneRow."""
        with self.open() as file:
            data = file.read()
        if len(data) != spec.tensor().item_bytes:
            raise MediaError(f"the film has {len(data)} bytes; the model takes {spec.tensor().item_bytes}")
        return np.frombuffer(data, np.uint8).reshape(spec.tensor().item_shape)


class VideoInput(ItemInput):
    """`video`: uint8[batch, frames, height, width]."""

    modality: Literal["video"] = "video"
    frames: int = Field(gt=0)
    height: int = Field(gt=0, description="pixels")
    width: int = Field(gt=0, description="pixels")
    front_end: VideoFrontEnd = VideoFrontEnd()

    content: ClassVar[type[VideoFile]] = VideoFile

    def tensor(self) -> TensorSpec:
        """Return the graph's input."""
        return TensorSpec(
            name="video", dtype="uint8", item_shape=(self.frames, self.height, self.width), meaning="grey, 0..255"
        )

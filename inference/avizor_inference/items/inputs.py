"""What one raw item is, of any kind, and the front end that goes into the graph before the network."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from avizor_inference.items.kinds.audio import AudioInput, LogMelFrontEnd
from avizor_inference.items.kinds.image import ImageFrontEnd, ImageInput
from avizor_inference.items.kinds.table import CategoryColumn, NumberColumn, TableFrontEnd, TableInput
from avizor_inference.items.kinds.tensor import TensorInput

__all__ = [
    "AudioInput",
    "CategoryColumn",
    "ImageFrontEnd",
    "ImageInput",
    "InputSpec",
    "LogMelFrontEnd",
    "NumberColumn",
    "TableFrontEnd",
    "TableInput",
    "TensorInput",
]

InputSpec = Annotated[ImageInput | AudioInput | TableInput | TensorInput, Field(discriminator="modality")]

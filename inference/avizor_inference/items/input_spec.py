"""Describe one raw item, of any kind, and the front end that goes into the graph before the network."""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from avizor_inference.items.kinds.audio import AudioInput
from avizor_inference.items.kinds.base import Content, ItemInput, TensorBytes
from avizor_inference.items.kinds.image import ImageFrontEnd, ImageInput
from avizor_inference.items.kinds.signal import SignalFrontEnd, SignalInput
from avizor_inference.items.kinds.sound_front_ends import (
    LogMelFrontEnd,
    MfccFrontEnd,
    SpectrogramFrontEnd,
    WaveformFrontEnd,
)
from avizor_inference.items.kinds.table import CategoryColumn, NumberColumn, TableFrontEnd, TableInput
from avizor_inference.items.kinds.tensor import TensorInput

__all__ = [
    "CONTENTS",
    "KINDS",
    "AudioInput",
    "CategoryColumn",
    "ImageFrontEnd",
    "ImageInput",
    "InputSpec",
    "LogMelFrontEnd",
    "MfccFrontEnd",
    "NumberColumn",
    "SignalFrontEnd",
    "SignalInput",
    "SpectrogramFrontEnd",
    "TableFrontEnd",
    "TableInput",
    "TensorInput",
    "WaveformFrontEnd",
    "has_channels",
]

InputSpec = Annotated[ImageInput | AudioInput | SignalInput | TableInput | TensorInput, Field(discriminator="modality")]

# Every kind, by its modality.
KINDS: dict[str, type[ItemInput]] = {kind.model_fields["modality"].default: kind for kind in get_args(get_args(InputSpec)[0])}


def has_channels(spec: InputSpec) -> bool:
    """Return whether a model takes one channel at a time of a sound that may have several."""
    return isinstance(spec, AudioInput) and spec.channels == 1


# What an item may be, by the name of the field of avizor.v1.Item.
CONTENTS: dict[str, type[Content]] = {content.name: content for kind in KINDS.values() for content in kind.contents()} | {
    TensorBytes.name: TensorBytes
}

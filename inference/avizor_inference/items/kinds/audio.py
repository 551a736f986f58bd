"""Describe sound, and turn a file of it, or raw PCM, into windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from avizor_inference.arrays import Array, Samples
from avizor_inference.errors import InvalidInput
from avizor_inference.items.containers.av_containers import AV_SUFFIXES, INSTALL, has_av
from avizor_inference.items.containers.detect import AUDIO_SUFFIXES, SEEKABLE_SUFFIXES
from avizor_inference.items.kinds.base import Content, FileContent, FileForm, ItemInput, Row, Span
from avizor_inference.items.kinds.sound_front_ends import MelFrontEnd, SoundFrontEnd, WaveformFrontEnd
from avizor_inference.items.kinds.sound_presets import with_preset
from avizor_inference.items.sections import WHOLE, Section
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.items.windows import MAX_CHANNELS, ChannelMode, Window, WindowFormat

if TYPE_CHECKING:
    from avizor_inference.items.audio import Level


@dataclass(frozen=True)
class SoundFile(FileContent):
    """Holds an encoded sound: the bytes of a file, an open file, or a path.

    channel_mode: what a model that takes one channel at a time gets. section: of the sound, if not all of it is wanted.
    """

    channel_mode: ChannelMode = "each"
    section: Section = WHOLE

    name: ClassVar[str] = "audio"
    noun: ClassVar[str] = "audio"
    several: ClassVar[str] = "recordings"
    plural: ClassVar[str] = "sound"
    suffixes: ClassVar[frozenset[str]] = AUDIO_SUFFIXES | AV_SUFFIXES if has_av() else AUDIO_SUFFIXES
    more_suffixes: ClassVar[Mapping[str, str]] = {} if has_av() else dict.fromkeys(AV_SUFFIXES, INSTALL)
    suffixes_of_sections: ClassVar[frozenset[str]] = SEEKABLE_SUFFIXES

    def rows(self, specs: Sequence[ItemInput], level: Level | None) -> Iterator[tuple[int, Row]]:
        """See Content. The sound is decoded once."""
        from avizor_inference.items.audio import windows_of  # the decoders are not loaded to read a manifest

        formats = _formats(specs)
        with self.open() as file:
            windows = windows_of(file, list(dict.fromkeys(formats)), level, channels=self.channel_mode, section=self.section)
            yield from _rows(windows, formats)

    def count_rows(self, spec: ItemInput) -> int | None:
        """See Content."""
        from avizor_inference.items.audio import count_windows

        with self.open() as file:
            return count_windows(file, *_formats([spec]), channels=self.channel_mode)

    def of_section(self, section: Section) -> SoundFile:
        """See FileContent."""
        return replace(self, section=section)

    def taking(self, channels: ChannelMode) -> SoundFile:
        """See Content."""
        return self if channels == self.channel_mode else replace(self, channel_mode=channels)


# Bytes of PCM up to which resampling and cutting is light work.
_LIGHT_PCM = 1 << 18


@dataclass(frozen=True)
class PcmSound(Content):
    """Holds sound without a file around it.

    format: `s16le` (the default) or `f32le`. channels: 0 means 1; the samples of one moment are next to each other.
    """

    format: str
    sample_rate: int  # Hz
    channels: int
    data: bytes
    channel_mode: ChannelMode = "each"

    name: ClassVar[str] = "pcm"
    noun: ClassVar[str] = "PCM"

    @property
    def is_media(self) -> bool:
        """See Content. A few seconds take less time than the way to another process."""
        return len(self.data) > _LIGHT_PCM

    def rows(self, specs: Sequence[ItemInput], level: Level | None) -> Iterator[tuple[int, Row]]:
        """See Content. The windows are those of a WAV file with the same samples."""
        from avizor_inference.items.audio import windows_of_sound
        from avizor_inference.items.pcm import PcmSamples

        formats = _formats(specs)
        sound = PcmSamples(self.data, self.format or "s16le", self.sample_rate, self.channels or 1)
        sound.check([format.sample_rate for format in formats])
        yield from _rows(windows_of_sound(sound, list(dict.fromkeys(formats)), level, channels=self.channel_mode), formats)

    def taking(self, channels: ChannelMode) -> PcmSound:
        """See Content."""
        return self if channels == self.channel_mode else replace(self, channel_mode=channels)

    def file_form(self, spec: ItemInput) -> FileForm:
        """See Content. The samples are those of a WAV file, bit by bit."""
        from avizor_inference.items.pcm import wav_head

        return FileForm(
            ".wav", wav_head(self.format or "s16le", self.sample_rate, self.channels or 1, len(self.data)) + self.data
        )


def _formats(specs: Sequence[ItemInput]) -> list[WindowFormat]:
    return [spec.window_format() for spec in specs if isinstance(spec, AudioInput)]


def _rows(windows: Iterable[tuple[WindowFormat, Window]], formats: Sequence[WindowFormat]) -> Iterator[tuple[int, Row]]:
    """Yield each window for each of the models, at these places, that takes its format."""
    for format, window in windows:
        row = Row(window.samples, Span(window.channel, window.start_sample, window.length))
        yield from ((place, row) for place, wanted in enumerate(formats) if wanted == format)


class AudioInput(ItemInput):
    """Describes the input `waveform`: float32[batch, window_samples] in [-1, 1]; float32[batch, channels, window_samples] if an
    item has several channels.

    channels: 1 takes each channel of a recording by itself. More take the channels of a recording together, as one item; the
    recording then has exactly so many.
    """

    modality: Literal["audio"] = "audio"
    sample_rate: int = Field(gt=0, description="Hz")
    window_samples: int = Field(gt=0, description="samples the model sees at once")
    hop_samples: int = Field(gt=0, description="samples from the start of one window to the next")
    channels: int = Field(default=1, ge=1, le=MAX_CHANNELS, description="channels of one item; 1: each channel by itself")
    front_end: SoundFrontEnd = Field(discriminator="kind")

    content: ClassVar[type[SoundFile]] = SoundFile
    other_contents: ClassVar[tuple[type[Content], ...]] = (PcmSound,)
    value_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @model_validator(mode="before")
    @classmethod
    def _preset_is_filled_in(cls, values: Any) -> Any:
        return with_preset(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _bands_lie_within_the_sound(self) -> AudioInput:
        if isinstance(self.front_end, MelFrontEnd):
            self.front_end.band(self.sample_rate)
        return self

    @model_validator(mode="after")
    def _window_holds_a_frame(self) -> AudioInput:
        self.front_end.fits(self.window_samples)
        if self.hop_samples > self.window_samples:
            raise ValueError(
                f"hop_samples {self.hop_samples} is over window_samples {self.window_samples}: sound would be skipped"
            )
        return self

    @model_validator(mode="after")
    def _layout_holds_the_channels(self) -> AudioInput:
        layout = self.front_end.layout
        if self.channels > 1 and "C" not in layout:
            raise ValueError(f"layout {layout} has no place for {self.channels} channels; use {_with_channels(layout)}")
        return self

    def tensor(self) -> TensorSpec:
        """Return the graph's input."""
        one = self.channels == 1
        meaning = f"{'one channel' if one else f'{self.channels} channels'} of sound at {self.sample_rate} Hz, -1..1"
        shape = (self.window_samples,) if one else (self.channels, self.window_samples)
        return TensorSpec(name="waveform", dtype="float32", item_shape=shape, meaning=meaning)

    def window_format(self) -> WindowFormat:
        """Return how recordings are cut for this model."""
        return WindowFormat(self.sample_rate, self.window_samples, self.hop_samples, self.channels)

    def to_samples(self) -> Callable[[Array], Samples]:
        """See ItemInput."""
        if not isinstance(self.front_end, WaveformFrontEnd):
            raise InvalidInput(
                f"the model reconstructs the output of its front end ({self.front_end.kind}), from which no sound can be "
                "computed, because the phase is lost; ask for the tensor",
                field="format",
            )
        return self._samples_of

    def _samples_of(self, reconstructions: Array) -> Samples:
        """Return float32[windows, channels, samples] of float[windows, channels, samples], or [windows, samples]."""
        if not np.isfinite(reconstructions).all():
            raise InvalidInput("the reconstruction holds a value that is not a finite number; ask for the tensor")
        return reconstructions.reshape(len(reconstructions), self.channels, -1).astype(np.float32)


def _with_channels(layout: str) -> str:
    return f"NC{layout[1:]}"

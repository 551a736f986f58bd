"""Turn what a user has (files, bytes, arrays, samples, rows) into items of a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from google.protobuf.json_format import ParseDict, ParseError

from avizor.v1 import inference_pb2 as pb
from avizor_client.answers import Array, InputKind
from avizor_client.errors import InputError
from avizor_client.files import read_file, unreadable

# Inputs of which a file is an item. The fields of Model and of Item have the same names.
FILE_KINDS = ("image", "audio", "signal")

# A disturbed read is rare, so that this many in a row mean another fault.
_READS = 20
_PCM_FORMATS = {"int16": pb.PCM_FORMAT_S16LE, "float32": pb.PCM_FORMAT_F32LE}


@dataclass(frozen=True, eq=False)
class Pcm:
    """Sound without a file around it.

    samples: int16 or float32 (full scale is 1) of shape [samples] or [samples, channels]; or bytes of int16, little-endian, the
    channels of one moment next to each other. sample_rate: Hz. channels: of bytes; an array has them in its shape.
    """

    samples: Array | bytes
    sample_rate: int
    channels: int = 1


# A path or the bytes of an encoded file; one item of the model's own tensor, or of a .npy file; samples; a table row.
Content = Path | str | bytes | Array | Pcm | Mapping[str, float | str | bool | None]


@dataclass(frozen=True, eq=False)
class Item:
    """One item to ask about.

    source: where it comes from, such as the name of a machine. mix_channels: of a sound of several channels, take their mean
    instead of each by itself.
    """

    content: Content
    source: str = ""
    mix_channels: bool = False


def messages(items: Iterable[Item | Content], kind: InputKind, source: str) -> Iterable[pb.Item]:
    """Yield the messages of items, each when it is asked for: files are read only then.

    kind: what the model takes. source: of the items that do not name one. Raises InputError, also for a single item in place of
    several: a text would be taken for paths of one letter.
    """
    if isinstance(items, str | bytes | Path | Mapping | Pcm | Item):
        raise InputError(f"the items are a single {type(items).__name__}; give a list, [item]")
    for each in items:
        item = each if isinstance(each, Item) else Item(each)
        message = pb.Item(source=item.source or source)
        if item.mix_channels:
            message.channel_mode = pb.CHANNEL_MODE_MIX
        _fill(message, item.content, kind)
        yield message


def pcm_message(pcm: Pcm) -> pb.Pcm:
    """Return samples as a message. Raises InputError for another type or shape."""
    if isinstance(pcm.samples, bytes):
        return _pcm_of(pb.PCM_FORMAT_S16LE, pcm.sample_rate, pcm.channels, pcm.samples)
    samples = np.asarray(pcm.samples)
    format = _PCM_FORMATS.get(samples.dtype.name)
    if format is None or samples.ndim not in (1, 2):
        raise InputError(
            f"samples are {samples.dtype.name}{list(samples.shape)}; give int16 or float32 of shape [samples] or "
            "[samples, channels]"
        )
    channels = samples.shape[1] if samples.ndim == 2 else 1
    return _pcm_of(format, pcm.sample_rate, channels, _little(samples).tobytes())


def _pcm_of(format: pb.PcmFormat, sample_rate: int, channels: int, data: bytes) -> pb.Pcm:
    try:
        return pb.Pcm(format=format, sample_rate=sample_rate, channels=channels, data=data)
    except (TypeError, ValueError) as error:
        raise InputError(f"sample_rate is {sample_rate!r}, and channels {channels!r}; give whole numbers above 0") from error


def _fill(message: pb.Item, content: Content, kind: InputKind) -> None:
    if isinstance(content, str | Path):
        path = Path(content)
        if path.suffix.lower() == ".npy" and kind != "signal":
            message.tensor.CopyFrom(_tensor(_open_array(path)))
        else:
            _fill_file(message, read_file(path), kind, str(path))
    elif isinstance(content, bytes):
        _fill_file(message, content, kind, "bytes")
    elif isinstance(content, Pcm):
        message.pcm.CopyFrom(pcm_message(content))
    elif isinstance(content, Mapping):
        try:
            ParseDict(dict(content), message.row)
        except (ParseError, TypeError, ValueError) as error:
            raise InputError(f"a row holds something else than numbers, texts and None: {error}") from error
    else:
        message.tensor.CopyFrom(_tensor(_as_array(content)))


def _as_array(content: Any) -> Array:
    try:
        return np.asarray(content)
    except ValueError as error:  # of rows that differ in length
        raise InputError(f"the item is no array ({error}); give numbers in the shape that the model takes") from error


def _fill_file(message: pb.Item, data: bytes, kind: InputKind, name: str) -> None:
    if kind not in FILE_KINDS:
        hint = "give its rows, as dictionaries" if kind == "table" else "give an array, or a .npy file of one item"
        raise InputError(f"{name}: a file is not one item of a model that takes a {kind}; {hint}")
    setattr(message, kind, data)


def check_array(path: Path) -> None:
    """Raise InputError for a file that is no array of numbers. The numbers are not read."""
    _check_numbers(_open_array(path, mode="r"))


def _open_array(path: Path, mode: Literal["r"] | None = None) -> Array:
    try:
        return _load(path, mode)
    except Exception as error:  # numpy reads the header as Python's text, and hostile text can raise nearly anything
        if isinstance(error, OSError) and error.errno:
            raise unreadable(path, error) from error
        reason = str(error) or type(error).__name__
        raise InputError(f"{path}: is not a .npy file that can be read ({reason}); write one with numpy.save") from error


def _load(path: Path, mode: Literal["r"] | None) -> Array:
    """Read an array; again if another thread parsed Python in the middle (https://github.com/python/cpython/issues/106905)."""
    for _ in range(_READS):
        with suppress(SystemError):
            return np.load(path, mode, allow_pickle=False)  # type: ignore[no-any-return]
    return np.load(path, mode, allow_pickle=False)  # type: ignore[no-any-return]


def _check_numbers(values: Array) -> None:
    if values.dtype.kind not in "iuf":
        raise InputError(f"an array of {values.dtype.name} is not a tensor; give numbers")


def _tensor(values: Array) -> pb.Tensor:
    _check_numbers(values)
    return pb.Tensor(dtype=values.dtype.name, shape=values.shape, data=_little(values).tobytes())


def _little(values: Array) -> Any:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<"))

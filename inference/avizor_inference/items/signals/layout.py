"""Define what a reader of signals is asked for, and what it returns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from avizor_inference.errors import MediaError

# Values that are read at a time: at most 2 MiB of float64.
BLOCK_VALUES = 262_144

# Values of an array that has to be unpacked in memory (.npz, .mat): 256 MiB of float64.
MOST_UNPACKED = 2**25

# Numbers of any type, [steps, channels].
Block = NDArray[Any]


class Layout(Protocol):
    """Describes what a model takes from a file, as a SignalInput says it."""

    channels: int
    sample_rate: float | None
    columns: tuple[str, ...]
    key: str | None
    delimiter: str | None


# Yields the blocks of an open file, not yet checked for numbers that are not finite. Raises MediaError.
Reader = Callable[[BinaryIO, Layout], Iterator[Block]]


def block_steps(channels: int) -> int:
    """Return how many steps are read at a time."""
    return max(1, BLOCK_VALUES // channels)


def place_of(name: str, names: Sequence[str], what: str) -> int:
    """Return the place of a name among those of a file; `*` in it stands for any characters.

    what: what has these names, for the message. Raises MediaError unless exactly one has it.
    """
    places = [place for place, each in enumerate(names) if each == name]
    if not places and "*" in name:
        pattern = re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)
        places = [place for place, each in enumerate(names) if pattern.fullmatch(each)]
    if len(places) == 1:
        return places[0]
    count = "no" if not places else f"{len(places)}"
    raise MediaError(f"the file has {count} {what} named {name!r}; it has {listed(names)}")


def listed(names: Sequence[str]) -> str:
    """Return the first names of a file, for a message."""
    shown = ", ".join(repr(name[:60]) for name in names[:8])
    return f"{shown}, ..." if len(names) > 8 else shown or "none"


def check_dtype(dtype: np.dtype[Any], name: str = "array") -> None:
    """Raise MediaError unless an array holds real numbers."""
    if dtype.kind == "c":
        raise MediaError(f"the {name} holds complex numbers; save the real part, or the magnitude")
    if dtype.kind not in "biuf":
        what = "Python objects" if dtype.hasobject else f"{dtype} values"
        raise MediaError(f"the {name} holds {what}; save real numbers, as in array.astype('float32')")


def axis_of_channels(shape: Sequence[int], channels: int, name: str = "array") -> int | None:
    """Return which axis of an array has the channels; None for an array [steps], which is one channel.

    The axis whose size is the model's number of channels. Raises MediaError if neither has it, or both.
    """
    text = list(shape)
    if len(shape) == 1:
        if channels != 1:
            raise MediaError(f"the {name} is {text}, one channel; the model takes {channels}")
        return None
    if len(shape) != 2:
        raise MediaError(f"the {name} is {text}; one recording is [steps] or [steps, {channels}] or [{channels}, steps]")
    fitting = [axis for axis in (0, 1) if shape[axis] == channels]
    if len(fitting) == 2 and channels > 1:
        raise MediaError(
            f"the {name} is {text}: either axis may be the {channels} channels of the model; save more than {channels} steps"
        )
    if not fitting:
        raise MediaError(
            f"the {name} is {text}; the model takes {channels} channels: [steps, {channels}] or [{channels}, steps]"
        )
    return fitting[-1]

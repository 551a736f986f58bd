"""Compute receptive fields: how many pixels of the input one value depends on, from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Reach:
    """Hold what one value depends on.

    field: height and width in pixels of the input; None for all of it. jump: distance between neighbouring values, in pixels
    of the input. joined: whether a skip connection or branch was joined before it. channels: axis of the channels, 1 or -1,
    after a layer with windows; else None.
    """

    field: tuple[int, int] | None = (1, 1)
    jump: tuple[float, float] = (1.0, 1.0)
    joined: bool = False
    channels: int | None = None


START = Reach()


def join(before: Sequence[Reach], is_join: bool) -> Reach:
    """Return the reach of a value that depends on all of these: the widest field, the largest jump."""
    if not before:
        return START
    fields = [reach.field for reach in before]
    widest = None if None in fields else (max(f[0] for f in fields if f), max(f[1] for f in fields if f))
    jump = (max(reach.jump[0] for reach in before), max(reach.jump[1] for reach in before))
    channels = before[0].channels if len({reach.channels for reach in before}) == 1 else None
    return Reach(widest, jump, is_join or any(reach.joined for reach in before), channels)


def grown(before: Reach, spread: Sequence[int], stride: Sequence[int]) -> Reach:
    """Return the reach after a layer whose windows are `spread` values high and wide, and `stride` values apart."""
    field = before.field
    if field is not None:
        sides = [round(field[axis] + (spread[axis] - 1) * before.jump[axis]) for axis in (0, 1)]
        field = (sides[0], sides[1])
    return replace(before, field=field, jump=(before.jump[0] * stride[0], before.jump[1] * stride[1]), channels=1)


def transposed(before: Reach, axes: Sequence[int]) -> Reach:
    """Return the reach after a transposition to these axes, which may move the channels."""
    if before.channels == 1 and axes and axes[-1] == 1:
        return replace(before, channels=-1)
    if before.channels == -1 and len(axes) > 1 and axes[1] == len(axes) - 1:
        return replace(before, channels=1)
    return before

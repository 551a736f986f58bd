"""A front end's parameters as the rows of a table, for people."""

from __future__ import annotations

from collections.abc import Sequence

from avizor_inference.items.inputs import AudioInput, CategoryColumn, ImageInput, InputSpec, NumberColumn, TableInput

Rows = list[tuple[str, ...]]

# Categories of a column that are named one by one.
_MOST_NAMES = 10


def front_end_table(spec: InputSpec) -> Rows:
    """The header and the rows; nothing for a model that takes its own tensor."""
    if isinstance(spec, ImageInput):
        return _image(spec)
    if isinstance(spec, AudioInput):
        return _audio(spec)
    if isinstance(spec, TableInput):
        return _table(spec)
    return []


def _image(spec: ImageInput) -> Rows:
    mean, std = (_for_each(values, spec.channels) for values in (spec.front_end.mean, spec.front_end.std))
    rows = zip(range(spec.channels), mean, std, strict=True)
    return [("channel, 0..1", "mean", "std"), *((str(channel), f"{m:g}", f"{s:g}") for channel, m, s in rows)]


def _for_each(values: Sequence[float], count: int) -> Sequence[float]:
    return values if len(values) == count else [values[0]] * count


def _audio(spec: AudioInput) -> Rows:
    front_end = spec.front_end
    f_min, f_max = front_end.band(spec.sample_rate)
    shown = front_end.model_dump(exclude={"kind", "mean", "std", "f_min", "f_max"})
    shown["win_length"] = front_end.win_length or front_end.n_fft
    rows = [*shown.items(), ("band, Hz", f"{f_min:g} to {f_max:g}")]
    rows += [("mean", _summary(front_end.mean)), ("std", _summary(front_end.std))]
    return [("log-mel", "value"), *((name, str(value)) for name, value in rows)]


def _summary(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:g}"
    return f"{min(values):.4g} to {max(values):.4g}, one for each of {len(values)} bands (manifest.json)"


def _table(spec: TableInput) -> Rows:
    header = ("column", "missing is", "clipped to", "scale", "mean", "std")
    return [header, *map(_column, spec.front_end.columns)]


def _column(column: NumberColumn | CategoryColumn) -> tuple[str, ...]:
    if isinstance(column, CategoryColumn):
        names = ", ".join(column.categories[:_MOST_NAMES])
        more = ", ..." if len(column.categories) > _MOST_NAMES else ""
        return (column.name, "all 0", "", f"{len(column.categories)} names: {names}{more}", "", "")
    lower, upper = ("" if bound is None else f"{bound:g}" for bound in (column.lower, column.upper))
    clipped = f"{lower}..{upper}" if lower or upper else ""
    return (column.name, f"{column.fill:g}", clipped, column.scale, f"{column.mean:g}", f"{column.std:g}")

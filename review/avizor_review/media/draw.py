"""Draw an excerpt of an item of each kind, with the error of an autoencoder over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from avizor_inference.arrays import Floats
from avizor_inference.explain.background import Cells, Lines, Picture, Spectrogram, background_of
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import AudioInput, InputSpec, SignalInput
from avizor_inference.items.kinds.base import Row, Span
from avizor_inference.items.kinds.mel_scale import hz_to_mel, mel_to_hz
from avizor_inference.items.kinds.sound_front_ends import MelFrontEnd, SpectralFrontEnd, WaveformFrontEnd
from avizor_review.media.excerpt import Excerpt
from avizor_review.media.pixels import area_means, grey_png, lines_png, of_background, picture_bytes
from avizor_review.media.view import Cell, Scale, Sound, Strip, View

# Of a spectrogram, and of the lines of a signal.
_WIDTH, _HEIGHT = 560, 168

# Of a spectrogram that a person can read.
_LEAST_FRAMES = 48

# Windows of which the error is drawn, at most.
_MOST_MAPS = 24

# Frequencies beside a spectrogram, in Hz.
_TICKS = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)

# From a row to the map of its error, or of what speaks for its class.
MapOf = Callable[[RawRow], HeatMap]


def view_of(excerpt: Excerpt, uri: str, spec: InputSpec, map_of: MapOf | None) -> View:
    """Return what is shown of an excerpt. map_of: None if there is no map.

    Raises what `map_of` raises.
    """
    if isinstance(spec, AudioInput | SignalInput) and excerpt.span:
        return _of_recording(excerpt, excerpt.span, uri, spec, map_of)
    row = RawRow(uri, 0, excerpt.row.values)
    background, found = background_of(row, spec), map_of(row) if map_of else None
    if isinstance(background, Picture):
        height, width = background.pixels.shape[:2]
        return View(
            picture=picture_bytes(background.pixels),
            map=None if found is None else _shown(found).values.astype(np.float64),
            x=Scale(0, width, "pixels"),
            y=Scale(0, height, "pixels"),
        )
    if isinstance(background, Cells):
        return View(cells=_cells(background, found))
    return View(picture=grey_png(found.values / (float(found.values.max()) or 1.0)) if found else None)


def _of_recording(excerpt: Excerpt, span: Span, uri: str, spec: AudioInput | SignalInput, map_of: MapOf | None) -> View:
    rate = float(spec.sample_rate or 1)
    samples = excerpt.samples()
    edges = np.linspace(span.start_sample / rate, span.end_sample / rate, _WIDTH + 1)
    looked_at = excerpt.row.span
    assert looked_at
    mark = tuple((place - span.start_sample) / span.length for place in (looked_at.start_sample, looked_at.end_sample))
    x = Scale(float(edges[0]), float(edges[-1]), "s" if spec.sample_rate else "samples")
    view = View(x=x, mark=(mark[0], min(1.0, mark[1])))
    whole = RawRow(uri, 0, samples if spec.channels > 1 or isinstance(spec, SignalInput) else samples[0], span)
    background = background_of(whole, _in_fine_frames(spec, samples.shape[1]))
    maps = [_shown(map_of(RawRow(uri, 0, row.values, row.span))) for row in _apart(excerpt)] if map_of else []
    if isinstance(background, Spectrogram) and isinstance(spec, AudioInput):
        hz, y = _frequencies(spec)
        shares = area_means(of_background(background.decibels), background.y.edges, hz, 0)
        shares = area_means(shares, background.x.edges, edges, 1)[::-1]
        errors = _joined(maps, edges, lambda found: _over_frequencies(found, hz))
        sound = Sound(samples, spec.sample_rate)
        return replace(view, picture=grey_png(shares), map=None if errors is None else errors[::-1], y=y, sound=sound)
    assert isinstance(background, Lines)
    strip = max(8, _HEIGHT // len(background.values))
    errors = _joined(maps, edges, lambda found: np.repeat(found.values, strip, axis=0))
    ranges = zip(background.names, background.values.min(axis=1).tolist(), background.values.max(axis=1).tolist(), strict=True)
    strips = tuple(Strip(*each) for each in ranges)
    return replace(view, picture=lines_png(background.values, _WIDTH, _HEIGHT), map=errors, strips=strips)


def _in_fine_frames(spec: AudioInput | SignalInput, samples: int) -> InputSpec:
    """Return the description of so many samples, by which a spectrogram has many frames: those of a model may be too few."""
    hop = spec.front_end.hop_length if isinstance(spec, AudioInput) and isinstance(spec.front_end, SpectralFrontEnd) else 0
    if samples < _LEAST_FRAMES * hop:
        spec = spec.model_copy(update={"front_end": WaveformFrontEnd()})
    return spec.model_copy(update={"window_samples": samples})


def _shown(found: HeatMap) -> HeatMap:
    """Return what of a map is drawn: of a class what speaks for it, and not what speaks against it."""
    return replace(found, values=np.maximum(found.values, 0))


def _apart(excerpt: Excerpt) -> Sequence[Row]:
    """Return rows that hardly overlap, the one that is looked at among them, and those that are nearest to it."""
    own = excerpt.row.span
    assert own
    chosen, ends = [excerpt.row], (own.start_sample, own.end_sample)
    for row in excerpt.rows[excerpt.place + 1 :]:
        if row.span and row.span.start_sample >= ends[1]:
            chosen.append(row)
            ends = (ends[0], row.span.end_sample)
    for row in excerpt.rows[: excerpt.place][::-1]:
        if row.span and row.span.end_sample <= ends[0]:
            chosen.append(row)
            ends = (row.span.start_sample, ends[1])
    rows = {row.span: row for row in chosen} | {row.span: row for row in (excerpt.rows[0], excerpt.rows[-1])}

    def distance(row: Row) -> int:
        return abs(row.span.start_sample - own.start_sample) if row.span else 0

    return sorted(rows.values(), key=distance)[:_MOST_MAPS]


def _joined(maps: Sequence[HeatMap], edges: Floats, to_rows: Callable[[HeatMap], Floats]) -> Floats | None:
    """Return the mean of maps over pixels [height, width]; 0 where there is none. edges: of the pixels, on the maps' x axis."""
    if not maps:
        return None
    total, count = np.zeros(()), np.zeros(len(edges) - 1)
    for found in maps:
        inside = (edges[:-1] < found.x.edges[-1]) & (edges[1:] > found.x.edges[0])
        total = total + area_means(to_rows(found), found.x.edges, edges, 1) * inside
        count += inside
    return np.asarray(total / np.maximum(count, 1))


def _over_frequencies(found: HeatMap, hz: Floats) -> Floats:
    """Return the values of a map for each pixel row, the lowest frequency first. Without frequencies it is of all."""
    values = np.asarray(found.values, np.float64)
    if found.y.unit == "Hz" and len(values) > 1:
        inside = (hz[:-1] < found.y.edges[-1]) & (hz[1:] > found.y.edges[0])
        return np.asarray(area_means(values, found.y.edges, hz, 0) * inside[:, None])
    return np.repeat(values.mean(axis=0, keepdims=True), len(hz) - 1, axis=0)


def _frequencies(spec: AudioInput) -> tuple[Floats, Scale]:
    """Return the edges of the pixel rows in Hz, ascending, on the scale of the model's front end."""
    front_end = spec.front_end
    if isinstance(front_end, MelFrontEnd):
        scale = front_end.mel_scale
        low, high = hz_to_mel(np.array(front_end.band(spec.sample_rate)), scale)
        hz = np.asarray(mel_to_hz(np.linspace(low, high, _HEIGHT + 1), scale))
    else:
        hz = np.linspace(0, spec.sample_rate / 2, _HEIGHT + 1)
    places = [(float(tick), float(np.interp(tick, hz, np.linspace(0, 1, len(hz))))) for tick in _TICKS if hz[0] < tick < hz[-1]]
    ticks, last = list[tuple[float, float]](), 1.0
    for tick, place in reversed(places):
        if last - place > 0.12 and place > 0.08:
            ticks.append((tick, place))
            last = place
    return hz, Scale(float(hz[0]), float(hz[-1]), "Hz", tuple(reversed(ticks)))


def _cells(cells: Cells, found: HeatMap | None) -> tuple[Cell, ...]:
    if found is None:
        return tuple(Cell(name, value) for name, value in zip(cells.names, cells.values, strict=True))
    errors = np.asarray(found.values, np.float64).reshape(-1)
    shares = (errors / (float(errors.sum()) or 1.0)).tolist()
    return tuple(Cell(name, value, share) for name, value, share in zip(cells.names, cells.values, shares, strict=True))

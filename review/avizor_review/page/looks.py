"""Say what a page shows of an item: a picture, the error over it, sound, flagged stretches, or why there is nothing to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Literal, NamedTuple
from urllib.parse import urlencode

from avizor_inference.errors import MediaError
from avizor_review.media.media import Media
from avizor_review.media.view import Cell, Scale, Strip, View
from avizor_review.page.listing import ItemRow
from avizor_review.results import Results, WindowRow

# Seconds to each side of the window that is looked at.
AROUND_S = 6.0

# Windows that are offered to look at, the most unusual first, of so many that are read.
_MOST_PLACES = 24
_MOST_WINDOWS = 100_000

# Cells of a row that are listed, and pixels of the larger side of a picture.
_MOST_CELLS = 200
_SIDE = 480


class Stretch(NamedTuple):
    """Holds a part of a recording in which windows are flagged, in seconds from its beginning."""

    start_s: float
    end_s: float


class Place(NamedTuple):
    """Names a window of a recording. is_shown: whether it is the one that is looked at."""

    name: str
    channel: int
    start_sample: int
    p_value: float | None
    is_anomaly: bool
    is_shown: bool


@dataclass(frozen=True)
class Look:
    """Holds what a page says of an item, and where its parts are.

    kind: none, if it cannot be shown; then `why` says it. query: of the addresses of picture, map and sound. strongest: of the
    map; 0 without one. map_of: the class that the map is of; "" for the error. no_map: why there is none. rates: in Hz, of the
    sound as it was recorded and as the model heard it, if these differ. start_s, end_s: what of a recording the picture and the
    sound have. stretches: flagged, of these. size: of a picture on the page, in pixels: width and height. axis: what the left
    and the right edge of the picture stand for. heights: what its lower and upper edge stand for.
    """

    kind: Literal["sound", "picture", "signal", "cells", "none"]
    query: str = ""
    why: str = ""
    alt: str = ""
    strongest: float = 0.0
    map_of: str = ""
    no_map: str = ""
    has_sound: bool = False
    rates: tuple[int, int] | None = None
    start_s: float = 0.0
    end_s: float = 0.0
    size: tuple[int, int] | None = None
    axis: tuple[str, str] | None = None
    heights: tuple[str, str] | None = None
    strips: Sequence[Strip] = ()
    cells: Sequence[Cell] = ()
    stretches: Sequence[Stretch] = ()
    places: Sequence[Place] = ()

    @property
    def has_map(self) -> bool:
        """Return whether there is a map to be laid over the picture."""
        return self.strongest > 0


class Looks:
    """Shows the items of one job."""

    def __init__(self, results: Results, media: Media) -> None:
        self._results, self._media = results, media

    def of(self, item: ItemRow, query: Mapping[str, str] | None = None, beside: Look | None = None) -> Look:
        """Return what is shown of an item. query: of the page's address, which may name a window by `channel` and `at`.

        beside: another item, with which it is compared: the colours of the map and the order of the cells are then the same.
        """
        windows = self._results.windows(item.uri, item.model, _MOST_WINDOWS)
        window = _asked(windows, query or {})
        try:
            view = self._view(item, window)
        except MediaError as error:
            return Look("none", why=str(error), places=_places(windows, window))
        place = {} if window is None or window.start_sample is None else {"channel": window.channel, "at": window.start_sample}
        scale = {"strongest": beside.strongest} if beside and beside.strongest else {}
        look = _look(view, item, window, windows, urlencode({"uri": item.uri, "model": item.model, **place, **scale}))
        return replace(look, cells=_in_order(look.cells, beside.cells if beside else ()))

    def picture(self, item: ItemRow, query: Mapping[str, str]) -> tuple[bytes, str]:
        """Return the picture of an item, and its media type. Raises MediaError if it has none."""
        view = self._asked_view(item, query)
        return _there(view.picture), view.picture_type

    def error_map(self, item: ItemRow, query: Mapping[str, str]) -> tuple[bytes, str]:
        """Return where the error is, as a PNG to be laid over the picture. Raises MediaError if there is none.

        query: may have the value of the `strongest` colour.
        """
        return _there(self._asked_view(item, query).overlay(_positive(query.get("strongest", "")))), "image/png"

    def sound(self, item: ItemRow, query: Mapping[str, str]) -> tuple[bytes, str]:
        """Return the sound of what the picture shows, as WAV. Raises MediaError if it has none.

        query: `as=heard` for the sound as the model heard it; else it is as it was recorded.
        """
        window = self._window(item, query)
        view = self._view(item, window)
        sound = view.sound
        if sound and view.x and view.recorded_rate not in (None, sound.sample_rate) and query.get("as") != "heard":
            sound = self._media.recorded(item.uri, item.model, window.channel if window else 0, view.x.low, view.x.high)
        return _there(sound.encoded("wav") if sound else None), "audio/wav"

    def _asked_view(self, item: ItemRow, query: Mapping[str, str]) -> View:
        return self._view(item, self._window(item, query))

    def _window(self, item: ItemRow, query: Mapping[str, str]) -> WindowRow | None:
        return _asked(self._results.windows(item.uri, item.model, _MOST_WINDOWS), query)

    def _view(self, item: ItemRow, window: WindowRow | None) -> View:
        place = (window.channel, window.start_sample) if window else (None, None)
        return self._media.view(item.uri, item.model, *place, AROUND_S)


def _there(content: bytes | None) -> bytes:
    if content is None:
        raise MediaError("there is none of this item")
    return content


def _positive(text: str) -> float | None:
    """Return a number above 0; None for any other text."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < inf else None


def _in_order(cells: Sequence[Cell], beside: Sequence[Cell]) -> list[Cell]:
    """Return cells in the order of those beside them, or else the largest error first. Not more than can be read."""
    places = {cell.name: place for place, cell in enumerate(beside)}
    return sorted(cells, key=lambda cell: (places.get(cell.name, len(places)), -(cell.error or 0.0)))[:_MOST_CELLS]


def _shown_size(width: float, height: float) -> tuple[int, int]:
    """Return in how many pixels a picture is shown: small ones are made larger, and none has a side of more than a screen."""
    scale = min(_SIDE / max(width, height, 1), 24.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _asked(windows: Sequence[WindowRow], query: Mapping[str, str]) -> WindowRow | None:
    """Return the window that is named, or else the most unusual one; None if the item has none."""
    named = (query.get("channel", ""), query.get("at", ""))
    for window in windows:
        if (str(window.channel), str(window.start_sample)) == named:
            return window
    return min(windows, key=_unusual, default=None)


def _unusual(window: WindowRow) -> tuple[float, float]:
    return (1.0 if window.p_value is None else window.p_value, -(window.score or 0.0))


def _look(view: View, item: ItemRow, window: WindowRow | None, windows: Sequence[WindowRow], query: str) -> Look:
    places = _places(windows, window)
    if view.cells:
        return Look("cells", query, cells=view.cells, no_map=view.no_map)
    if view.picture is None:
        return Look("none", query, why=view.no_map or "it has no picture", places=places)
    kind: Literal["sound", "signal", "picture"] = "sound" if view.sound else "signal" if view.mark else "picture"
    what = {"sound": "Spectrogram", "signal": "Signal", "picture": "Picture"}[kind]
    x = view.x if kind != "picture" else None
    y = view.y if kind == "sound" else None
    seconds = (x.low, x.high) if x and x.unit == "s" else (0.0, 0.0)
    channel, heard = window.channel if window else None, view.sound.sample_rate if view.sound else None
    return Look(
        kind,
        query,
        alt=f"{what} of {item.uri}" + (f" from {_edge(x.low, x)} to {_edge(x.high, x)}" if x else ""),
        strongest=0.0 if view.map is None else float(view.map.max()),
        map_of=view.map_of,
        no_map=view.no_map,
        has_sound=view.sound is not None,
        rates=(view.recorded_rate, heard) if heard and view.recorded_rate not in (None, heard) else None,
        start_s=seconds[0],
        end_s=seconds[1],
        size=_shown_size(view.x.high, view.y.high) if kind == "picture" and view.x and view.y else None,
        strips=view.strips,
        axis=(_edge(x.low, x), _edge(x.high, x)) if x else None,
        heights=(_edge(y.low, y), _edge(y.high, y)) if y else None,
        stretches=_stretches(windows, channel, *seconds),
        places=places,
    )


def _stretches(windows: Sequence[WindowRow], channel: int | None, start_s: float, end_s: float) -> list[Stretch]:
    """Return where the flagged windows of a channel are, those that touch as one, within a part of the recording."""
    stretches: list[Stretch] = []
    for window in windows:
        if not window.is_anomaly or window.channel != channel or window.start_s is None or window.end_s is None:
            continue
        start, end = max(start_s, window.start_s), min(end_s, window.end_s)
        if start >= end:
            continue
        if stretches and start <= stretches[-1].end_s:
            stretches[-1] = Stretch(stretches[-1].start_s, max(end, stretches[-1].end_s))
        else:
            stretches.append(Stretch(start, end))
    return stretches


def _places(windows: Sequence[WindowRow], shown: WindowRow | None) -> list[Place]:
    several = len({window.channel for window in windows}) > 1
    places = []
    for window in sorted(windows, key=_unusual)[:_MOST_PLACES]:
        if window.channel is None or window.start_sample is None:
            continue
        if window.start_s is None:
            name = f"samples {window.start_sample} to {window.end_sample}"
        else:
            name = f"{window.start_s:.4g} to {window.end_s:.4g} s"
        name += f", channel {window.channel + 1}" if several else ""
        is_shown = window == shown
        places.append(Place(name, window.channel, window.start_sample, window.p_value, bool(window.is_anomaly), is_shown))
    return places


def _edge(value: float, scale: Scale) -> str:
    return f"{value:.4g} {scale.unit}"

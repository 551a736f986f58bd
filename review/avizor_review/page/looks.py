"""Say what a page shows of an item: a picture, the error over it, sound, flagged stretches, or why there is nothing to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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

# Windows that are offered to look at, the most unusual first; flagged stretches of a picture.
_MOST_PLACES = 24
_MOST_STRETCHES = 1000

# Seconds from which on places are told in hours and minutes.
_LONG_S = 600

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
    is_shown: bool = False

    def is_of(self, window: WindowRow | None) -> bool:
        """Return whether it is the place of a window."""
        return window is not None and (window.channel, window.start_sample) == (self.channel, self.start_sample)


@dataclass(frozen=True)
class Look:
    """Holds what a page says of an item, and where its parts are.

    kind: none, if it cannot be shown; then `why` says it. query: of the addresses of picture, map and sound. strongest: of the
    map; 0 without one. map_of: the class that the map is of; "" for the error. no_map: why there is none. rates: in Hz, of the
    sound as it was recorded and as the model heard it, if these differ. start_s, end_s: what of a recording the picture and the
    sound have. stretches: flagged, of these. size: of a picture on the page, in pixels: width and height. axis: what the left
    and the right edge of the picture stand for. heights: what its lower and upper edge stand for. by: the other model by which
    it is seen, for addresses.
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
    others: Sequence[Cell] = ()
    stretches: Sequence[Stretch] = ()
    places: Sequence[Place] = ()
    by: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_map(self) -> bool:
        """Return whether there is a map to be laid over the picture."""
        return self.strongest > 0


class Looks:
    """Shows the items of one job."""

    def __init__(self, results: Results, media: Media) -> None:
        self._results, self._media = results, media

    def of(self, item: ItemRow, query: Mapping[str, str] | None = None, beside: Look | None = None) -> Look:
        """Return what is shown of an item.

        query: of the page's address, which may name a window by `channel` and `at`, and `by` another model of the job, as a
        classifier, by which the item is seen.
        beside: another item, with which it is compared: the colours of the map and the order of the cells are then the same.
        """
        seen = self._seen(item, query or {})
        window, places = self._window(seen, query or {}), self._places(seen)
        places = [place._replace(is_shown=place.is_of(window)) for place in places]
        try:
            view = self._view(seen, window)
        except MediaError as error:
            return Look("none", why=str(error), places=places)
        place = {} if window is None or window.start_sample is None else {"channel": window.channel, "at": window.start_sample}
        by = {} if seen is item else {"by": seen.model}
        scale = {"strongest": beside.strongest} if beside and beside.strongest else {}
        look = _look(view, item, urlencode({"uri": item.uri, "model": item.model, **by, **place, **scale}))
        cells = _in_order(look.cells, beside.cells if beside else ())
        return replace(look, cells=cells, places=places, stretches=self._stretches(seen, window, look), by=by)

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
        item = self._seen(item, query)
        window = self._window(item, query)
        view = self._view(item, window)
        sound = view.sound
        if sound and view.x and view.recorded_rate not in (None, sound.sample_rate) and query.get("as") != "heard":
            sound = self._media.recorded(item.uri, item.model, window.channel if window else 0, view.x.low, view.x.high)
        return _there(sound.encoded("wav") if sound else None), "audio/wav"

    def _asked_view(self, item: ItemRow, query: Mapping[str, str]) -> View:
        item = self._seen(item, query)
        return self._view(item, self._window(item, query))

    def _seen(self, item: ItemRow, query: Mapping[str, str]) -> ItemRow:
        """Return the item as another model of the job has it, if one is named that has."""
        by = query.get("by", "")
        return item._replace(model=by) if by != item.model and self._results.item(item.uri, by) else item

    def _window(self, item: ItemRow, query: Mapping[str, str]) -> WindowRow | None:
        """Return the window that is named, or else the most unusual one; None if the item has none."""
        channel, at = query.get("channel", ""), query.get("at", "")
        if _is_place(channel) and _is_place(at):
            named = self._results.window(item.uri, item.model, int(channel), int(at))
            if named:
                return named
        return next(iter(self._results.unusual_windows(item.uri, item.model, 1)), None)

    def _places(self, item: ItemRow) -> list[Place]:
        several = self._results.channels(item.uri, item.model) > 1
        windows = self._results.unusual_windows(item.uri, item.model, _MOST_PLACES)
        return [place for window in windows if (place := _place(window, several))]

    def _stretches(self, item: ItemRow, window: WindowRow | None, look: Look) -> list[Stretch]:
        """Return where the flagged windows of a channel are, those that touch as one, within what is shown."""
        if window is None or window.channel is None or look.start_s >= look.end_s:
            return []
        shown = (look.start_s, look.end_s)
        stretches: list[Stretch] = []
        for each in self._results.flagged_windows(item.uri, item.model, window.channel, *shown, _MOST_STRETCHES):
            start, end = max(look.start_s, each.start_s or 0.0), min(look.end_s, each.end_s or 0.0)
            if stretches and start <= stretches[-1].end_s:
                stretches[-1] = Stretch(stretches[-1].start_s, max(end, stretches[-1].end_s))
            else:
                stretches.append(Stretch(start, end))
        return stretches

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


def _is_place(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16


def _look(view: View, item: ItemRow, query: str) -> Look:
    if view.cells:
        return Look("cells", query, cells=view.cells, others=view.others[:_MOST_CELLS], no_map=view.no_map)
    if view.picture is None:
        return Look("none", query, why=view.no_map or "it has no picture")
    kind: Literal["sound", "signal", "picture"] = "sound" if view.sound else "signal" if view.mark else "picture"
    what = {"sound": "Spectrogram", "signal": "Signal", "picture": "Picture"}[kind]
    x = view.x if kind != "picture" else None
    y = view.y if kind == "sound" else None
    seconds = (x.low, x.high) if x and x.unit == "s" else (0.0, 0.0)
    heard = view.sound.sample_rate if view.sound else None
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
    )


def _place(window: WindowRow, several: bool) -> Place | None:
    """Return what names a window. several: whether channels have to be told apart. None for what is no recording."""
    if window.channel is None or window.start_sample is None:
        return None
    if window.start_s is None or window.end_s is None:
        name = f"samples {window.start_sample} to {window.end_sample}"
    else:
        name = f"{_clock(window.start_s)} to {_clock(window.end_s)}{' s' if window.start_s < _LONG_S else ''}"
    name += f", channel {window.channel + 1}" if several else ""
    return Place(name, window.channel, window.start_sample, window.p_value, bool(window.is_anomaly))


def _clock(seconds: float) -> str:
    """Return a place in a sound: in seconds, and from some minutes on as h:mm:ss."""
    if seconds < _LONG_S:
        return f"{seconds:.4g}"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes // 60)}:{int(minutes % 60):02}:{rest:04.1f}"


def _edge(value: float, scale: Scale) -> str:
    if scale.unit == "s" and value >= _LONG_S:
        return _clock(value)
    return f"{value:.4g} {scale.unit}"

"""Choose the items that a report shows, and make what is seen and heard of them, within a number of bytes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from avizor_inference.errors import AvizorError
from avizor_review.item_query import ItemQuery
from avizor_review.media.media import Media
from avizor_review.media.view import Cell, View
from avizor_review.report.figures import ModelFigures
from avizor_review.report.neighbours import Neighbour, nearest_normal
from avizor_review.results import Item, Results, WindowRow

_NEIGHBOURS = 3
_MOST_CELLS = 12


@dataclass
class Shown:
    """Holds one item of a report. picture, overlay, sound: data URIs; "" without. problem: why it is not shown."""

    item: Item
    window: WindowRow | None
    neighbours: Sequence[tuple[Neighbour, Item | None]] = ()
    view: View | None = None
    problem: str = ""
    picture: str = ""
    overlay: str = ""
    sound: str = ""
    normal_picture: str = ""
    normal_sound: str = ""

    @property
    def cells(self) -> Sequence[Cell]:
        """Return the cells of a row of a table that tell most: those with the largest error."""
        return sorted(self.view.cells if self.view else (), key=lambda cell: -(cell.error or 0.0))[:_MOST_CELLS]

    @property
    def others(self) -> Sequence[Cell]:
        """Return the columns of its row that the model does not take."""
        return self.view.others[:_MOST_CELLS] if self.view else ()

    @property
    def bytes(self) -> int:
        """Return how much of the page it takes, about."""
        texts = (self.picture, self.overlay, self.sound, self.normal_picture, self.normal_sound, self.problem, self.item.uri)
        return sum(map(len, texts)) + 4096


@dataclass
class ShownItems:
    """Holds the items of one model. left_out: how many were to be shown, and had no room."""

    model: str
    is_judge: bool
    items: list[Shown] = field(default_factory=list)
    left_out: int = 0


def unusual_items(
    results: Results, media: Media, models: Sequence[ModelFigures], wanted: int, most_bytes: int
) -> list[ShownItems]:
    """Return the most unusual items of each model, of a classifier the least certain; fewer if these take too much."""
    found, left = [], most_bytes
    for place, model in enumerate(models):
        shown = ShownItems(model.name, model.is_judge)
        found.append(shown)
        room = left // (len(models) - place)
        chosen = _chosen(results, model, wanted if model.is_judge else min(wanted, max(6, wanted // 4)))
        for number, each in enumerate(chosen):
            _show(media, each)
            if room < each.bytes:
                shown.left_out = len(chosen) - number
                break
            room, left = room - each.bytes, left - each.bytes
            shown.items.append(each)
    return found


def _chosen(results: Results, model: ModelFigures, wanted: int) -> list[Shown]:
    items = results.items(ItemQuery(model=model.name), limit=wanted)
    windows = results.telling_windows([(item.uri, item.model) for item in items])
    chosen = [Shown(item, windows.get((item.uri, item.model))) for item in items]
    if results.job.embeddings:
        known = [each for each in chosen if each.window]
        told = [each.window for each in known if each.window]
        for each, near in zip(
            known, nearest_normal(results, model.name, told, _NEIGHBOURS, cosine=not model.is_judge), strict=True
        ):
            each.neighbours = [(other, results.item(other.uri, model.name)) for other in near]
    return chosen


def _show(media: Media, each: Shown) -> None:
    window = each.window
    try:
        view = media.view(
            each.item.uri, each.item.model, window.channel if window else None, window.start_sample if window else None
        )
    except AvizorError as error:
        each.problem = str(error)
        return
    each.view = view
    each.picture = _uri(view.picture_type, view.picture)
    each.overlay = _uri("image/png", view.overlay())
    each.sound = _uri("audio/mpeg", view.sound.encoded("mp3")) if view.sound else ""
    if each.neighbours:
        nearest = each.neighbours[0][0]
        try:
            normal = media.view(nearest.uri, each.item.model, nearest.channel, nearest.start_sample)
        except AvizorError:
            return
        each.normal_picture = _uri(normal.picture_type, normal.picture)
        each.normal_sound = _uri("audio/mpeg", normal.sound.encoded("mp3")) if normal.sound else ""


def _uri(kind: str, data: bytes | None) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}" if data else ""

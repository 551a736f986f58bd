"""List the items of a job for a person: which are flagged at an alpha, in which order, a page at a time.

Everything is one query of DuckDB over the job's Parquet files, so that memory does not grow with the job.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, urlencode

from avizor_inference.anomaly.review_sample import PREFIX
from avizor_inference.errors import SettingsError
from avizor_inference.job_results import COMMITS
from avizor_inference.review_answers import Answers, ItemKey
from avizor_review.results import Results
from avizor_review.tables import Row

PAGE_ROWS = 50

Order = Literal["unusual", "uncertain", "source", "time"]
Shown = Literal["flagged", "all"]
Answered = Literal["any", "none", "normal", "abnormal", "unsure", "disagreed"]

ORDERS: dict[Order, str] = {
    "unusual": "most unusual first",
    "uncertain": "most uncertain first",
    "source": "by source and name",
    "time": "by source and time",
}
SHOWN: dict[Shown, str] = {"flagged": "flagged items", "all": "all judged items"}
ANSWERED: dict[Answered, str] = {
    "any": "any or none",
    "none": "no answer yet",
    "normal": "normal",
    "abnormal": "abnormal",
    "unsure": "unsure",
    "disagreed": "reviewers disagree",
}

# How items are put in order; `uri` and `model` make it a whole one. An item is the more uncertain, the nearer its p-value is to
# alpha, as a factor. Of equal p-values, the larger score within its model is the more unusual.
_ORDER_SQL: dict[Order, str] = {
    "unusual": "p_value, score desc",
    "uncertain": "abs(ln(p_value / $alpha)), p_value",
    "source": "source",
    "time": "source, time nulls last",
}

# Which model is listed, in an address in which `model` is that of one item.
_FILTER = "model_filter"

# Is held while the table of samples is made.
_SAMPLING = threading.Lock()

_COLUMNS = ("uri", "source", "model", "windows", "score", "p_value", "is_anomaly", "judged_by", "verdict")


@dataclass(frozen=True)
class Wanted:
    """Says what of a job is listed.

    alpha: items with a p-value of at most this are flagged; None for the job's own verdicts. source, model: empty for all.
    sample: only those of the random sample of this size (review_sample.py); None for all. page: from 0.
    """

    alpha: float | None = None
    source: str = ""
    model: str = ""
    answered: Answered = "any"
    order: Order = "unusual"
    shown: Shown = "flagged"
    sample: int | None = None
    page: int = 0

    @classmethod
    def of_address(cls, query: Mapping[str, str], default: Wanted) -> Wanted:
        """Return what the address of a list asks for, in which `model` is a filter. Raises SettingsError."""
        return cls.of_query({**query, _FILTER: query.get("model", query.get(_FILTER, default.model))}, default)

    @classmethod
    def of_query(cls, query: Mapping[str, str], default: Wanted) -> Wanted:
        """Return what the address of an item asks for beside it, whose own model is `model`.

        Raises SettingsError, with the name of what is wrong.
        """
        alpha, sample, page = query.get("alpha", ""), query.get("sample", ""), query.get("page", "0")
        wanted = cls(
            alpha=_number(alpha, "alpha") if alpha else default.alpha,
            source=query.get("source", default.source),
            model=query.get(_FILTER, default.model),
            answered=_one_of(query.get("answered", default.answered), ANSWERED, "answered"),
            order=_one_of(query.get("order", default.order), ORDERS, "order"),
            shown=_one_of(query.get("shown", default.shown), SHOWN, "shown"),
            sample=_whole(sample, "sample", 1) if sample else default.sample,
            page=_whole(page, "page", 0),
        )
        if wanted.alpha is not None and not 0 < wanted.alpha < 1:
            raise SettingsError(f"alpha is {wanted.alpha:g}; give a number between 0 and 1")
        return wanted

    def address(self) -> str:
        """Return the address of the list. Others link to it: docs/review.md has its names, which stay."""
        query = urlencode([("model" if name == _FILTER else name, value) for name, value in self.fields()])
        return f"/?{query}" if query else "/"

    def query(self, **more: object) -> str:
        """Return it as the query of the address of an item, with other values added."""
        own = {
            "alpha": "" if self.alpha is None else str(self.alpha),  # all of its digits: a p-value may be as near to it
            "source": self.source,
            _FILTER: self.model,
            "answered": self.answered,
            "order": self.order,
            "shown": self.shown,
            "sample": "" if self.sample is None else str(self.sample),
            "page": str(self.page) if self.page else "",
        }
        default = {"answered": "any", "order": "unusual", "shown": "flagged"}
        kept = {name: value for name, value in own.items() if value and default.get(name) != value}
        return urlencode({**kept, **{name: str(value) for name, value in more.items()}})

    def fields(self) -> list[tuple[str, str]]:
        """Return it as the fields of a form."""
        return parse_qsl(self.query())

    def of_source(self, source: str) -> Wanted:
        """Return the same of one source, from its first page on."""
        return replace(self, source=source, page=0)

    def on_page(self, page: int) -> Wanted:
        """Return the same on another page."""
        return replace(self, page=page)


class ItemRow(NamedTuple):
    """Holds one item of the list. verdict: of all who answered it; None if nobody has. time: see Results.time_is_named."""

    uri: str
    source: str
    model: str
    windows: int
    score: float
    p_value: float
    is_anomaly: bool
    judged_by: str
    verdict: str | None
    time: datetime | None = None

    @property
    def key(self) -> ItemKey:
        """Return what an answer on it names."""
        return ItemKey(self.uri, self.model)


class Place(NamedTuple):
    """Says where in the list an item is. number: from 1; 0 if it is not in the list. before, after: the items beside it."""

    number: int
    before: ItemKey | None
    after: ItemKey | None


class Tally(NamedTuple):
    """Counts items at an alpha, of those that a filter of source, model and sample lets through. flagged items have answers."""

    judged: int
    flagged: int
    normal: int
    abnormal: int
    doubtful: int

    @property
    def answered(self) -> int:
        """Return how many flagged items have an answer."""
        return self.normal + self.abnormal + self.doubtful


class Nearest(NamedTuple):
    """Holds a normal item to compare another one with. by_embedding: whether it is the most alike, or else the most normal."""

    item: ItemRow
    by_embedding: bool


@dataclass
class _Drawn:
    """Says what the table of samples holds. size: of the largest one. is_current: whether no items have come since."""

    size: int = 0
    is_current: bool = False


@dataclass(frozen=True)
class Listing:
    """Lists the items of one job."""

    results: Results
    _drawn: _Drawn = field(default_factory=_Drawn, repr=False)
    _seen: list[int] = field(default_factory=list, repr=False)

    def refresh(self) -> None:
        """Look again at the tables, if files have come or gone: a job runs, or a gateway keeps more. Raises JobError."""
        folders = (self.results.folder / name for name in ("recordings", "windows", COMMITS))
        stamps = [folder.stat().st_mtime_ns for folder in folders if folder.is_dir()]
        if stamps != self._seen:  # also at first: the tables were opened some time ago
            self.results.reload()
            with _SAMPLING:
                self._drawn.is_current = False
        self._seen[:] = stamps

    @property
    def alpha(self) -> float:
        """Return the alpha of the job."""
        return self.results.job.alpha

    def rows(self, wanted: Wanted, answers: Answers) -> list[ItemRow]:
        """Return one page of the items that are asked for."""
        sql, values = self._listed(wanted, answers)
        columns = ", ".join(_COLUMNS)
        page = f"{sql} select {columns} from listed order by place limit {PAGE_ROWS} offset $offset"
        return self._timed(self._all(page, {**values, "offset": wanted.page * PAGE_ROWS}))

    def count(self, wanted: Wanted, answers: Answers, tally: Tally) -> int:
        """Return how many items are asked for, on all pages. tally: of the same."""
        if wanted.answered == "any":
            return tally.flagged if wanted.shown == "flagged" else tally.judged
        sql, values = self._listed(wanted, answers)
        ((count,),) = self._all(f"{sql} select count(*) from listed", values)
        return int(count)

    def place(self, wanted: Wanted, answers: Answers, key: ItemKey) -> Place:
        """Return where in the list an item is."""
        sql, values = self._listed(wanted, answers)
        own = "(select place from listed where uri = $uri and model = $model)"
        beside = f"{sql} select place - {own}, place, uri, model from listed where abs(place - {own}) <= 1"
        found = {step: (place, ItemKey(uri, model)) for step, place, uri, model in self._all(beside, {**values, **_named(key)})}
        if 0 not in found:
            return Place(0, None, None)
        return Place(found[0][0], *(found[step][1] if step in found else None for step in (-1, 1)))

    def item(self, key: ItemKey, answers: Answers) -> ItemRow | None:
        """Return one item by its name; None if the job has no verdict on it."""
        sql, values = self._listed(Wanted(shown="all"), answers)
        found = self._all(
            f"{sql} select {', '.join(_COLUMNS)} from listed where uri = $uri and model = $model", {**values, **_named(key)}
        )
        return next(iter(self._timed(found)), None)

    def tally(self, wanted: Wanted, answers: Answers) -> Tally:
        """Count the items of the source, the model and the sample that are asked for."""
        sql, values = self._listed(replace(wanted, shown="all", answered="any", order="unusual"), answers)
        verdicts = ("verdict = 'normal'", "verdict = 'abnormal'", "verdict in ('unsure', 'disagreed')")
        counts = ", ".join(f"count(*) filter (is_anomaly and {each})" for each in verdicts)
        (row,) = self._all(f"{sql} select count(*), count(*) filter (is_anomaly), {counts} from listed", values)
        return Tally._make(row)

    def labels(self, uri: str) -> list[tuple[str, str, float]]:
        """Return what classifiers of the job say of an item: model, label and probability."""
        sql = "select model, label, probability from recordings where uri = $uri and label is not null order by model"
        return [(model, label, probability) for model, label, probability in self._all(sql, {"uri": uri})]

    def nearest(self, item: ItemRow, answers: Answers) -> Nearest | None:
        """Return a normal item of the same source: that with the most similar window, if the job has embeddings, or else that
        with the largest p-value. Normal is what was not flagged, or was called normal, and never what was called otherwise.
        """
        sql, values = self._listed(Wanted(shown="all", model=item.model, source=item.source), answers)
        normal = f"{sql}, normal as (select * from listed where uri != $uri and coalesce(verdict = 'normal', not is_anomaly))"
        values |= {"uri": item.uri}
        columns = ", ".join(f"normal.{name}" for name in _COLUMNS)
        by_embedding = (
            f"{normal}, own as (select embedding from windows "
            "where uri = $uri and model = $only_model and embedding is not null "
            "order by p_value, score desc limit 1), "
            "alike as (select uri, max(list_cosine_similarity(windows.embedding, own.embedding)) likeness from windows, own "
            "where model = $only_model and source = $only_source group by uri) "
            f"select {columns} from normal join alike using (uri) order by likeness desc, uri limit 1"
        )
        if rows := self._all(by_embedding, values):
            return Nearest(self._timed(rows)[0], by_embedding=True)
        rows = self._all(f"{normal} select {columns} from normal order by p_value desc, uri limit 1", values)
        return Nearest(self._timed(rows)[0], by_embedding=False) if rows else None

    def sources(self) -> list[str]:
        """Return the sources of judged items, sorted."""
        return [
            source for (source,) in self._all("select distinct source from recordings where p_value is not null order by 1")
        ]

    def models(self) -> list[str]:
        """Return the models that judged items, sorted."""
        return [model for (model,) in self._all("select distinct model from recordings where p_value is not null order by 1")]

    def _listed(self, wanted: Wanted, answers: Answers) -> tuple[str, dict[str, Any]]:
        """Return the beginning of a query, which names the items that are asked for `listed`, and the values of its parameters.

        `place` is the number of an item in the list, from 1.
        """
        keys = [key for key in answers.answered() if key.channel is None]
        values: dict[str, Any] = {
            "uris": [key.uri for key in keys],
            "models": [key.model for key in keys],
            "verdicts": [answers.verdict(key) for key in keys],
        }
        recordings = f"({self.results.timed()})" if wanted.order == "time" else "recordings"
        flagged = "is_anomaly" if wanted.alpha is None else "p_value <= $alpha"
        conditions = ["p_value is not null"]
        if wanted.alpha is not None or wanted.order == "uncertain":
            values["alpha"] = self.alpha if wanted.alpha is None else wanted.alpha
        if wanted.shown == "flagged":
            conditions.append(flagged)
        for name in ("source", "model"):
            if value := getattr(wanted, name):
                conditions.append(f"{name} = $only_{name}")
                values[f"only_{name}"] = value
        if wanted.answered == "none":
            conditions.append("verdict is null")
        elif wanted.answered != "any":
            conditions.append("verdict = $answered")
            values["answered"] = wanted.answered
        if wanted.sample is not None:
            self._draw(wanted.sample)
            conditions.append("(model, uri) in (select (model, uri) from drawn where number <= $sample)")
            values["sample"] = wanted.sample
        return (
            "with answered as (select unnest($uris::varchar[]) uri, unnest($models::varchar[]) model, "
            "unnest($verdicts::varchar[]) verdict), "
            f"listed as (select uri, source, model, windows, score, p_value, {flagged} is_anomaly, judged_by, verdict, "
            f"row_number() over (order by {_ORDER_SQL[wanted.order]}, uri, model) place "
            f"from {recordings} left join answered using (uri, model) where {' and '.join(conditions)})"
        ), values

    def _timed(self, rows: Sequence[Row]) -> list[ItemRow]:
        times = self.results.times([row[0] for row in rows])
        return [ItemRow(*(*row, times.get(row[0]))) for row in rows]

    def _draw(self, size: int) -> None:
        """Make a table of the items of each model with the smallest digests: those that `review_sample` draws.

        A smaller sample is a part of a larger one. So there is one table, and a thread that reads it finds what it needs when
        another one replaces it.
        """
        with _SAMPLING:
            if size > self._drawn.size or not self._drawn.is_current:
                size = max(size, self._drawn.size)
                number = "row_number() over (partition by model order by sha256($prefix || uri))"
                drawn = f"select model, uri, {number} number from recordings qualify number <= $size"
                self._all(f"create or replace table drawn as {drawn}", {"prefix": PREFIX, "size": size})
                self._drawn.size, self._drawn.is_current = size, True

    def _all(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        return self.results.tables.rows(sql, dict(values or {}))


def _named(key: ItemKey) -> dict[str, str]:
    return {"uri": key.uri, "model": key.model}


def _one_of(value: str, known: Mapping[Any, str], name: str) -> Any:
    if value not in known:
        raise SettingsError(f"{name} is {value[:50]!r}; give one of {', '.join(known)}")
    return value


def _number(value: str, name: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise SettingsError(f"{name} is {value[:50]!r}, which is not a number") from None


def _whole(value: str, name: str, least: int) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) < 10 and int(value) >= least):
        raise SettingsError(f"{name} is {value[:50]!r}; give a whole number, at least {least}")
    return int(value)

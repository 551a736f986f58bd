"""Ask the results of a batch job: its items page by page at any alpha, counts by source, what could not be read and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from avizor_inference.errors import SettingsError
from avizor_inference.job_results import SUMMARY_FILE
from avizor_inference.object_store import is_url
from avizor_review.item_query import ItemQuery, flagged_at
from avizor_review.job_file import JobFile
from avizor_review.tables import Tables

# A date and a time in the name of a file, as recorders write them: 20230501_120000.WAV, 2023-05-01T12-00-00.wav.
_TIME = (
    r"(?:^|[^0-9])((?:19|20)[0-9]{2})[-_]?(0[1-9]|1[0-2])[-_]?(0[1-9]|[12][0-9]|3[01])"
    r"[T_ -]?([01][0-9]|2[0-3])[-_:h]?([0-5][0-9])[-_:m]?([0-5][0-9])(?:[^0-9]|$)"
)
_NAMED_TIME = (
    f"try_strptime(nullif(regexp_replace(regexp_extract(uri, '{_TIME}'), '^.*?{_TIME}.*$', "
    r"'\1\2\3\4\5\6'), ''), '%Y%m%d%H%M%S')"
)

# The longest text of a cause, and the causes of dead letters that are told apart.
_MOST_CAUSE, _MOST_CAUSES = 300, 100

_ITEM = "uri, source, model, windows, label, probability, score, p_value, is_anomaly, judged_by, calibration_id, not_judged"


@dataclass(frozen=True)
class Item:
    """Holds a row of `recordings`: what one model said of one item. time: see Results.time_is_named."""

    uri: str
    source: str
    model: str
    windows: int
    label: str | None
    probability: float | None
    score: float | None
    p_value: float | None
    is_anomaly: bool | None
    judged_by: str | None
    calibration_id: str | None
    not_judged: str | None
    time: datetime | None


@dataclass(frozen=True)
class WindowRow:
    """Holds what is known of one window of an item. channel and the places are None for an item that is no recording."""

    uri: str
    model: str
    channel: int | None
    start_sample: int | None
    end_sample: int | None
    start_s: float | None
    end_s: float | None
    label: str | None
    probability: float | None
    score: float | None
    p_value: float | None
    is_anomaly: bool | None


_WINDOW = ", ".join(WindowRow.__dataclass_fields__)


class SourceCounts(NamedTuple):
    """Counts the items of one model and source. judged: those with a p-value."""

    model: str
    source: str
    items: int
    judged: int
    flagged: int
    not_judged: int


class Cause(NamedTuple):
    """Counts the dead letters of one cause. example: the uri of one of them."""

    error_class: str
    cause: str
    files: int
    example: str


class Results:
    """Reads one results folder, and never writes to it. Threads may ask at once; memory does not grow with the job."""

    def __init__(self, folder: Path, job: JobFile, tables: Tables) -> None:
        self.folder, self.job, self.tables = folder, job, tables

    @classmethod
    def open(cls, folder: Path) -> Results:
        """Open a folder that `avizor batch` wrote. Raises SettingsError if it is none, JobError if it cannot be read."""
        if is_url(folder):
            raise SettingsError(f"{folder}: results on an object store are not read in place; copy them to a disk first")
        job = JobFile.read(folder)
        return cls(folder, job, Tables(folder, is_kept=job.kept))

    def __enter__(self) -> Results:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self.tables.close()

    def reload(self) -> None:
        """Look again at the tables, and at what a gateway says of itself, which may serve other models by now."""
        self.tables.reload()
        if self.job.kept:
            self.job = JobFile.read(self.folder)
            self.__dict__.pop("time_is_named", None)

    def version_of(self, uri: str, model: str) -> int | None:
        """Return the version of a model that has judged an item; None if nothing says it."""
        rows = self.tables.rows("SELECT model_version FROM windows WHERE uri = ? AND model = ? LIMIT 1", [uri, model])
        return rows[0][0] if rows else None

    @property
    def is_finished(self) -> bool:
        """Return whether the job has finished: if not, it runs, or was stopped."""
        return (self.folder / SUMMARY_FILE).is_file()

    @cached_property
    def time_is_named(self) -> bool:
        """Return whether the time of an item is that in its name, as the recorder's clock had it; else when its file changed.

        Then each name has one. A time of a file is in UTC, and missing for items of a file that holds many.
        """
        ((items, named),) = self.tables.rows(f"SELECT count(*), count({_NAMED_TIME}) FROM recordings")
        return bool(items) and items == named

    def items(self, query: ItemQuery | None = None, limit: int = 50, offset: int = 0) -> list[Item]:
        """Return one page of the items that are wanted, in the order that is wanted. Raises JobError."""
        query = query or ItemQuery()
        where, parameters = query.where()
        order, more = query.order_by(self.job.alpha)
        if query.order == "time":
            sql = f"SELECT * FROM ({self.timed()}) WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
            return [Item(*row) for row in self.tables.rows(sql, [*parameters, *more, limit, offset])]
        # Only the items of the page are looked up in the rounds: there may be millions.
        page = f"SELECT {_ITEM} FROM recordings WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
        rows = self.tables.rows(page, [*parameters, *more, limit, offset])
        times = self.times([row[0] for row in rows])
        return [Item(*(*row, times.get(row[0]))) for row in rows]

    def item(self, uri: str, model: str) -> Item | None:
        """Return one item; None if the job has no such row."""
        rows = self.tables.rows(f"SELECT {_ITEM} FROM recordings WHERE uri = ? AND model = ?", [uri, model])
        return Item(*(*rows[0], self.times([uri]).get(uri))) if rows else None

    def count(self, query: ItemQuery | None = None) -> int:
        """Return the number of items that are wanted."""
        where, parameters = (query or ItemQuery()).where()
        ((count,),) = self.tables.rows(f"SELECT count(*) FROM recordings WHERE {where}", parameters)
        return int(count)

    def sources(self, alpha: float | None = None) -> list[SourceCounts]:
        """Return the counts of each model and source, sorted. alpha: None for the verdicts of the job."""
        flagged, parameters = flagged_at(alpha)
        rows = self.tables.rows(
            f"SELECT model, source, count(*), count(p_value), count(*) FILTER ({flagged}), count(not_judged) "
            "FROM recordings GROUP BY ALL ORDER BY model, source",
            parameters,
        )
        return [SourceCounts(*row) for row in rows]

    def windows(self, uri: str, model: str, limit: int = 4096) -> list[WindowRow]:
        """Return the windows of an item in their order, at most `limit` of them."""
        sql = f"SELECT {_WINDOW} FROM windows WHERE uri = ? AND model = ? ORDER BY start_sample, channel LIMIT ?"
        return [WindowRow(*row) for row in self.tables.rows(sql, [uri, model, limit])]

    def window(self, uri: str, model: str, channel: int, start_sample: int) -> WindowRow | None:
        """Return one window of an item; None if the job has no such row."""
        sql = f"SELECT {_WINDOW} FROM windows WHERE uri = ? AND model = ? AND channel = ? AND start_sample = ? LIMIT 1"
        rows = self.tables.rows(sql, [uri, model, channel, start_sample])
        return WindowRow(*rows[0]) if rows else None

    def unusual_windows(self, uri: str, model: str, limit: int) -> list[WindowRow]:
        """Return the most unusual windows of an item, the most unusual first; of a classifier the surest."""
        sql = (
            f"SELECT {_WINDOW} FROM windows WHERE uri = ? AND model = ? "
            "ORDER BY p_value NULLS LAST, score DESC NULLS LAST, probability DESC NULLS LAST, start_sample, channel LIMIT ?"
        )
        return [WindowRow(*row) for row in self.tables.rows(sql, [uri, model, limit])]

    def flagged_windows(self, uri: str, model: str, channel: int, start_s: float, end_s: float, limit: int) -> list[WindowRow]:
        """Return the flagged windows of a channel that touch a part of a recording, in their order."""
        sql = (
            f"SELECT {_WINDOW} FROM windows WHERE uri = ? AND model = ? AND channel = ? AND is_anomaly "
            "AND end_s > ? AND start_s < ? ORDER BY start_s LIMIT ?"
        )
        return [WindowRow(*row) for row in self.tables.rows(sql, [uri, model, channel, start_s, end_s, limit])]

    def channels(self, uri: str, model: str) -> int:
        """Return how many channels of an item have windows."""
        sql = "SELECT count(DISTINCT channel) FROM windows WHERE uri = ? AND model = ?"
        ((count,),) = self.tables.rows(sql, [uri, model])
        return int(count)

    def telling_windows(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], WindowRow]:
        """Return for each item, by uri and model, the window that tells most: of the highest score, or of the surest class."""
        if not keys:
            return {}
        sql = f"""
            SELECT {_WINDOW} FROM windows
            WHERE (uri, model) IN (SELECT unnest(?), unnest(?))
            QUALIFY row_number() OVER (
                PARTITION BY uri, model
                ORDER BY score DESC NULLS LAST, probability DESC NULLS LAST, start_sample, channel
            ) = 1
        """
        uris, models = zip(*keys, strict=True)
        return {(row[0], row[1]): WindowRow(*row) for row in self.tables.rows(sql, [list(uris), list(models)])}

    def dead_letters(self, limit: int = 50, offset: int = 0) -> list[tuple[str, str, str, str]]:
        """Return one page of uri, source, error class and message of what could not be read, by uri."""
        sql = "SELECT uri, source, error_class, message FROM dead_letters ORDER BY uri LIMIT ? OFFSET ?"
        return [(row[0], row[1], row[2], row[3]) for row in self.tables.rows(sql, [limit, offset])]

    def causes(self) -> list[Cause]:
        """Return the causes of dead letters, the most frequent first: their messages without names and numbers."""
        # The numbers of MP3 or f0 are parts of names: they stay.
        sql = rf"""
            SELECT error_class, cause, count(*) AS files, min(uri) FROM (
                SELECT error_class, uri, left(regexp_replace(
                    CASE WHEN starts_with(message, name || ': ') THEN message[length(name) + 3:]
                    ELSE replace(replace(message, uri, 'the file'), name, 'the file') END,
                    '\b[0-9]+([.,][0-9]+)*', 'N', 'g'), {_MOST_CAUSE}) AS cause
                FROM (SELECT *, regexp_extract(uri, '[^/]*$') AS name FROM dead_letters)
            ) GROUP BY ALL ORDER BY files DESC, error_class, cause LIMIT {_MOST_CAUSES}
        """
        return [Cause(*row) for row in self.tables.rows(sql)]

    def dead_letter_count(self) -> int:
        """Return the number of files that could not be read."""
        ((count,),) = self.tables.rows("SELECT count(*) FROM dead_letters")
        return int(count)

    def planned(self) -> int:
        """Return the number of items that the job's rounds have; each counts once, also if it was done again."""
        counts = "SELECT uri, max(coalesce(items, 1)) AS items FROM rounds GROUP BY uri"
        sql = f"SELECT coalesce(sum(items), 0)::BIGINT FROM ({counts})"
        ((count,),) = self.tables.rows(sql)
        return int(count)

    def timed(self) -> str:
        """Return SQL of the items with their time, in the columns of Item."""
        if self.time_is_named:
            return f"SELECT {_ITEM}, {_NAMED_TIME} AS time FROM recordings"
        return (
            f"SELECT {_ITEM}, make_timestamp(changed // 1000) AS time FROM recordings LEFT JOIN "
            "(SELECT uri, max(modified_ns) AS changed FROM rounds WHERE modified_ns > 0 GROUP BY uri) USING (uri)"
        )

    def times(self, uris: Sequence[str]) -> dict[str, datetime]:
        """Return the times of items that have one; see `time_is_named`."""
        if not uris:
            return {}
        if self.time_is_named:
            sql = f"SELECT uri, {_NAMED_TIME} FROM (SELECT unnest(?) AS uri)"
        else:
            sql = (
                "SELECT uri, make_timestamp(max(modified_ns) // 1000) FROM rounds "
                "WHERE uri IN (SELECT unnest(?)) AND modified_ns > 0 GROUP BY uri"
            )
        return {row[0]: row[1] for row in self.tables.rows(sql, [list(uris)])}


def each_page(results: Results, query: ItemQuery, size: int = 1000) -> Iterator[Item]:
    """Yield all items that are wanted, page by page."""
    offset = 0
    while page := results.items(query, size, offset):
        yield from page
        offset += len(page)

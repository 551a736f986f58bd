"""Look at the rows of a table, and choose which columns a model takes, and how."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avizor_export.fitting.choices import Choice
from avizor_export.fitting.kinds.base import Chosen, KindToFit, Wanted
from avizor_inference.error_text import named
from avizor_inference.errors import DatasetError
from avizor_inference.items.column_names import conversion
from avizor_inference.items.dataset import Entry
from avizor_inference.items.input_spec import CategoryColumn, NumberColumn, TableFrontEnd, TableInput
from avizor_inference.items.kinds.base import Content

_MOST_CATEGORIES = 40
# A column of text is a category if it has so few different values for each row that was looked at.
_VALUES_PER_ROW = 0.2
_SKEWED = 2.0  # skewness from which amounts and counts are taken by their logarithm
_LABELS = re.compile(
    r"(?i)(is_?|has_?)?(label|labels|class|target|y|anomaly|anomalous|abnormal|outlier|fraud|fault|faulty|defect|defective"
    r"|failure|failed|attack|malicious|diagnosis|ground_?truth)"
)
_MOST_LABELS = 20
_DECIMAL_COMMA = re.compile(r"[-+]?\d+(\.\d{3})*,\d+")
# 31.12.2025, 12/31/25, 2025-12-31, 2025-12, 31 Dec 2025, each with or without a time; a week, 2025-W52 or 2025-W52-3, and a
# quarter, 2025-Q4; and a time of the day.
_MONTH = "(Jan(uary)?|Feb(ruary)?|Mar(ch)?|Apr(il)?|May|June?|July?|Aug(ust)?|Sept?(ember)?|Oct(ober)?|Nov(ember)?|Dec(ember)?)"
_DATE = re.compile(
    r"(\d{1,2}([./-])\d{1,2}\2(19|20)\d\d|\d\d([./-])\d\d\4\d\d|(19|20)\d\d([./-])\d\d?(\6\d\d?)?"
    rf"|\d\d?[ .-]+{_MONTH}[ ,.-]+((19|20)\d\d|\d\d)|{_MONTH}[ .-]+(\d\d?,? )?(19|20)\d\d"
    r"|(19|20)\d\d[ -]?(W\d\d(-?\d)?|Q\d))([T ,]+\d\d?:\d\d.*)?"
)
# 20251231 and, with a time, 202512312359 or 20251231235959.
_DAY_NUMBER = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(([01]\d|2[0-3])[0-5]\d([0-5]\d)?)?")
_FEWEST_DAYS = 3  # of other numbers of eight digits one in 28 is a day, at most
_TIME = re.compile(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?( ?[AaPp]\.?[Mm]\.?)?")
# Names of columns that tell rows apart, if nearly all values differ.
_KEYS = re.compile(r"(?i)(.*[_ -])?(id|ids|nr|no|num|number|index|idx|row|key|uuid)|.*[a-z](ID|Id|Nr|Key)")
_FEW_NUMBERS = 5
_NO_DATES = "it holds dates, which are no numbers; add a column of what matters, such as the hour or the weekday"
# A column in which so many of the values are numbers was meant to hold numbers.
_MOSTLY = 0.9


class RowsToFit(KindToFit):
    """See KindToFit. Rows are looked at in the batches in which they are read."""

    modality, plural = "table", "rows"

    def __init__(self) -> None:
        self.columns: dict[str, list[str]] = {}

    def look(self, entry: Entry, content: Content) -> None:
        """See KindToFit."""
        batch, place = getattr(content, "batch", None), getattr(content, "place", 0)
        assert batch is not None  # rows of files are in batches
        for name, values in batch.columns.items():
            value = values[place].as_py()
            self.columns.setdefault(name, []).append(_text(value))

    def choose(self, wanted: Wanted) -> Chosen:
        """See KindToFit. Raises DatasetError for a column that looks like a label, or if no column is left."""
        if unknown := [name for name in (*wanted.columns, *wanted.leave_out) if name not in self.columns]:
            raise DatasetError(f"the table has no column {named(unknown)}; it has {', '.join(self.columns)}")
        columns: list[NumberColumn | CategoryColumn] = []
        choices, without = list[Choice](), list[str]()
        for name in wanted.columns or tuple(self.columns):
            if name in wanted.leave_out:
                continue
            values = self.columns[name]
            if not wanted.columns:
                _refuse_label(name, values)
            column, choice = _column(name, values)
            if column is None:
                without.append(f"{name} ({choice.reason})")
            else:
                columns.append(column)
                choices.append(choice)
        if not columns:
            raise DatasetError(f"no column of the table can be learnt from: {', '.join(without)}")
        if wanted.leave_out:
            choices.append(Choice.given("left out", ", ".join(wanted.leave_out)))
        if without:
            choices.append(Choice("without", f"{len(without)} column{'s' * (len(without) > 1)}", ", ".join(without)))
        return Chosen(TableInput(front_end=TableFrontEnd(columns=tuple(columns))), tuple(choices))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(float(value)) if isinstance(value, bool) else str(value)


def _column(name: str, values: Sequence[str]) -> tuple[NumberColumn | CategoryColumn | None, Choice]:
    """Return how a column is taken; None if it is not."""
    present = [
        value.strip() for value in values if value.strip() and value.strip().lower() not in ("na", "nan", "null", "none")
    ]
    label = f"column {name}"

    def without(reason: str) -> tuple[None, Choice]:
        return None, Choice(label, "left out", reason)

    if not present:
        return without("no row that was looked at has a value")
    if len(set(present)) == 1:
        return without("it never changes")
    numbers = _numbers(name, present)
    if numbers is None:
        return _names(name, present, without)
    if _are_dates(numbers):
        return without(_NO_DATES)
    if reason := _names_rows(name, numbers):
        return without(reason)
    if (numbers.min() >= 0) and _skewness(numbers) > _SKEWED:
        return (
            NumberColumn(name=name, lower=0, scale="log1p"),
            Choice(label, "number, log(1 + x)", f"a few of its values are far above the others, up to {numbers.max():.4g}"),
        )
    return NumberColumn(name=name), Choice(label, "number", _of_numbers(numbers))


def _names(name: str, present: list[str], without: Any) -> tuple[CategoryColumn | None, Choice]:
    counts = Counter(present)
    few = len(counts) <= _MOST_CATEGORIES and len(counts) <= max(2, _VALUES_PER_ROW * len(present))
    result: tuple[None, Choice]
    if _mostly(_DATE, counts):  # however few they are: as categories, all that come later would be unknown
        result = without(_NO_DATES)
    elif few:
        categories = tuple(sorted(counts))
        return CategoryColumn(name=name, categories=categories), Choice(
            f"column {name}", "category", f"it holds {len(categories)} texts: {named(categories)}"
        )
    elif _mostly(_TIME, counts):
        result = without("it holds times, which are no numbers; add a column of the hour")
    else:
        result = without(f"{len(counts)} different texts, such as a name, a number or a time of each row")
    return result


def _mostly(pattern: re.Pattern[str], counts: Counter[str]) -> bool:
    """Return whether nearly all values, each as often as it is there, match as a whole."""
    return sum(count for text, count in counts.items() if pattern.fullmatch(text)) >= _MOSTLY * counts.total()


def _numbers(name: str, present: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the values of a column of numbers; None for one of texts. Raises DatasetError for numbers with a few texts."""
    numbers, others = list[float](), Counter[str]()
    for value in present:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            numbers.append(number)
        else:
            others[value] += 1
    if not others:
        return np.array(numbers)
    if len(numbers) < _MOSTLY * len(present):
        _refuse_decimal_comma(name, present, others)
        return None
    raise DatasetError(
        f"column {name!r} holds numbers, but for {others.total()} of {len(present)} values that were looked at: "
        f"{named(list(others))}; write what is missing as an empty cell, or give --leave-out {name}"
    )


def _refuse_decimal_comma(name: str, present: Sequence[str], others: Counter[str]) -> None:
    """Raise DatasetError for a column of numbers with a decimal comma, which would be left out as texts."""
    if _mostly(_DECIMAL_COMMA, others):
        example = next(value for value in others if _DECIMAL_COMMA.fullmatch(value))
        raise DatasetError(
            f"column {name!r} holds numbers with a decimal comma, such as {named([example])}; give --leave-out {name}, or "
            f"write them with a point: {conversion(',')}"
        )


def _of_numbers(numbers: NDArray[np.float64]) -> str:
    """Return why a column is taken as numbers; of few whole ones also that they may be names."""
    different = np.unique(numbers)
    if len(different) <= _FEW_NUMBERS and (different == np.rint(different)).all():
        held = named([f"{value:g}" for value in different])
        return f"it holds {len(different)} whole numbers: {held}; if they are a label, leave the column out"
    return f"its values are numbers, {numbers.min():.4g} to {numbers.max():.4g}"


def _are_dates(numbers: NDArray[np.float64]) -> bool:
    """Return whether nearly all numbers are days such as 20251231, of several days. All that come later would look abnormal."""
    counts = Counter(f"{value:.17g}" for value in numbers)
    days = sum(_DAY_NUMBER.fullmatch(text) is not None for text in counts)
    return days >= _FEWEST_DAYS and _mostly(_DAY_NUMBER, counts)


def _names_rows(name: str, numbers: NDArray[np.float64]) -> str:
    """Return why whole numbers only tell rows apart, as an id or a time does; an empty string if they do not.

    Those of tomorrow's rows are others, so that each row would look abnormal.
    """
    if len(numbers) <= 9 or not (numbers == np.rint(numbers)).all():
        return ""
    if (np.diff(numbers) > 0).all():
        return "it grows from row to row, as a number or a time of the row does"
    different = len(np.unique(numbers))
    if different < 0.99 * len(numbers):
        return ""
    if _KEYS.fullmatch(name):
        return "nearly all its values differ, and it is named like the number of a row"
    if different == len(numbers) >= 30 and np.ptp(numbers) < 2 * len(numbers):
        return "each number is there once, and hardly one between them is missing, as with the numbers of rows in another order"
    return ""


def _skewness(numbers: NDArray[np.float64]) -> float:
    centred = numbers - numbers.mean()
    return float((centred**3).mean() / max(float(numbers.std()), 1e-30) ** 3)


def is_label_name(name: str) -> bool:
    """Return whether a column is named like a label; `y` may as well be a place."""
    return name.lower() != "y" and _LABELS.fullmatch(name) is not None


def _refuse_label(name: str, values: Sequence[str]) -> None:
    """Raise DatasetError for a column that is named like a label and holds a few different values."""
    different = sorted({value for value in values if value})
    if _LABELS.fullmatch(name) and 1 < len(different) <= _MOST_LABELS:
        raise DatasetError(
            f"column {name!r} looks like a label: it holds {named(different)}. Normal items alone are learnt from, and a label "
            f"would give the answer away: leave out the abnormal rows, and give --leave-out {name}; or, if it is a "
            "measurement, name all columns with --take"
        )

"""Read a column of numbers from a file: a missing value is written in many ways, and a wrong one has to be located."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Texts that mean a missing value.
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None", "?", "-")

_TRUTH = {"true": "1", "false": "0"}
_DECIMAL_COMMA = re.compile(r"[+-]?[\d.]*\d,\d+")


def numbers_of(values: Any, *, name_row: bool = True) -> NDArray[np.float32]:
    """Convert a pyarrow.Array of numbers, truth values (1 and 0) or texts of either to float32[rows], NaN where missing.

    Raises ValueError naming the first row, counted from 1, that is not a number, infinite, or more than float32 holds.
    name_row: whether to name it; not if there is only one.
    """
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        wide = _parsed(values, name_row=name_row)
    else:
        try:
            # By way of float64: a whole number of 64 bits has no safe cast to float32.
            wide = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        except pa.ArrowException as error:
            raise ValueError(f"is of type {values.type}, not of numbers") from error
    with np.errstate(over="ignore"):
        numbers = np.asarray(wide, dtype=np.float32)
    if len(rows := np.flatnonzero(np.isinf(numbers))):
        value = float(wide[rows[0]])
        what = "an infinite number" if math.isinf(value) else f"{value:g}, more than float32 holds"
        raise ValueError(f"holds {what}{_in_row(rows[0] + 1, name_row)}; leave it empty if it is missing")
    return numbers


def _in_row(number: int, is_named: bool) -> str:
    return f" in row {number}" if is_named else ""


def _parsed(values: Any, *, name_row: bool) -> NDArray[np.float64]:
    texts = pc.utf8_trim_whitespace(values)
    texts = pc.if_else(pc.is_in(texts, value_set=pa.array(MISSING, texts.type)), pa.scalar(None, texts.type), texts)
    for word, number in _TRUTH.items():
        texts = pc.if_else(pc.equal(pc.utf8_lower(texts), word), pa.scalar(number, texts.type), texts)
    try:
        return texts.cast(pa.float64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    except pa.ArrowException as error:
        raise ValueError(_first_wrong(texts, name_row)) from error


def _first_wrong(texts: Any, name_row: bool) -> str:
    for number, text in enumerate(texts, 1):
        try:
            text.cast(pa.float64())
        except pa.ArrowException:
            written = text.as_py()
            where = _in_row(number, name_row)
            if _DECIMAL_COMMA.fullmatch(written):
                return f"holds {written!r}{where}; write decimals with a point"
            missing = ", ".join(filter(None, MISSING))
            return f"holds {written!r}{where}, which is not a number; a missing value is empty or one of {missing}"
    raise AssertionError("every text is a number")

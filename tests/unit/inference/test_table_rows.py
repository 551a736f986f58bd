"""items/kinds/table.py: named values become a row of the tensor, or are refused with the column's name."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.tables import MIXED as SPEC

from avizor_inference.errors import InvalidInput
from avizor_inference.items.kinds.table import (
    CategoryColumn,
    NumberColumn,
    TableFrontEnd,
    TableInput,
    TableRow,
    encode_names,
    encode_row,
)

NAN = math.nan


def test_a_row_of_named_values() -> None:
    row = encode_row({"country": "FR", "amount": 12}, SPEC)
    assert row.dtype == np.float32
    np.testing.assert_array_equal(row, np.array([12, 1, NAN], np.float32))
    np.testing.assert_array_equal(encode_row({"country": "XX", "hour": None}, SPEC), np.full(3, NAN, np.float32))
    np.testing.assert_array_equal(encode_row({"hour": True}, SPEC), np.array([NAN, NAN, 1], np.float32))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"iban": "x"}, "no column 'iban'; it takes amount, country, hour"),
        ({"amount": "12"}, "'amount' holds '12'; give a finite number"),
        ({"amount": math.inf}, "'amount' holds inf"),
        ({"country": 1.0}, "'country' holds 1.0; give one of ES, FR, IT"),
        ({"amount": 1e39}, r"'amount' holds 1e\+39, which float32 cannot hold"),
        ({"hour": -(10**400)}, "'hour' holds -1000.*, which float32 cannot hold"),
        ({}, "the row holds no value; give amount, country or hour"),
        ({"amount": None}, "the row holds no value"),
    ],
)
def test_a_row_that_does_not_fit(values: dict[str, float | str], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        encode_row(values, SPEC)


@pytest.mark.filterwarnings("error")  # numpy's, of an overflow
def test_the_largest_float32_is_a_number() -> None:
    largest = float(np.finfo(np.float32).max)
    assert encode_row({"amount": largest}, SPEC)[0] == np.float32(largest)


@pytest.mark.parametrize(
    ("values", "says", "field"),
    [
        ({"iban": "x"}, "the model has no column 'iban'; it takes amount, country, hour", "iban"),
        ({"amount": "12"}, "column 'amount' holds '12'; give a finite number, or leave it out", "amount"),
        ({"hour": NAN}, "column 'hour' holds nan; give a finite number, or leave it out", "hour"),
        ({"hour": -math.inf}, "column 'hour' holds -inf; give a finite number, or leave it out", "hour"),
        ({"country": 1.0}, "column 'country' holds 1.0; give one of ES, FR, IT", "country"),
        (
            {"hour": -1e39},
            "column 'hour' holds -1e+39, which float32 cannot hold; give at most 3.4e+38, or leave it out",
            "hour",
        ),
        ({"hour": None}, "the row holds no value; give amount, country or hour", ""),
    ],
)
def test_a_refusal_names_the_column(values: dict[str, float | str | None], says: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        encode_row(values, SPEC)
    assert str(refusal.value) == says
    assert refusal.value.field == field


def test_a_row_of_one_column_without_a_value_is_asked_for_that_one() -> None:
    one = TableInput(front_end=TableFrontEnd(columns=(NumberColumn(name="amount"),)))
    with pytest.raises(InvalidInput) as refusal:
        encode_row({}, one)
    assert str(refusal.value) == "the row holds no value; give amount"


def test_names_become_their_places_among_the_categories() -> None:
    places = encode_names(np.array(["IT", "ES", "XX", ""]), CategoryColumn(name="country", categories=("ES", "FR", "IT")))
    assert places.dtype == np.float32
    np.testing.assert_array_equal(places, np.array([2, 0, NAN, NAN], np.float32))


def test_columns_of_numbers_may_be_written_short() -> None:
    columns = [{"kind": "number", "name": "amount"}, {"kind": "number", "name": "x=y"}]
    assert TableInput.fields_of("columns=amount/x=y") == {"front_end": {"columns": columns}}
    unfilled = [column | {"fill": None} for column in columns]
    assert TableInput.fields_of("columns=amount/x=y,fill=none") == {"front_end": {"columns": unfilled}}
    for text in ("", "columns", "columns=", "names=a", "columns=a,b", ",fill=nonecolumns=a"):
        with pytest.raises(ValueError, match=r"^write table:columns=NAME/NAME/\.\.\., or a JSON file for more$"):
            TableInput.fields_of(text)


def test_a_row_that_the_model_refuses_is_not_counted() -> None:
    assert TableRow({"amount": 12}).count_rows(SPEC) == 1
    with pytest.raises(InvalidInput, match="no column 'iban'"):
        TableRow({"iban": "x"}).count_rows(SPEC)

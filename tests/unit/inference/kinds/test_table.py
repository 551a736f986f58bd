"""items/kinds/table.py: named values as a row of the tensor."""

from __future__ import annotations

import math

import numpy as np
import pytest

from avizor_inference.errors import InvalidInput
from avizor_inference.items.input_spec import CategoryColumn, NumberColumn, TableFrontEnd, TableInput
from avizor_inference.items.kinds.table import encode_row

NAN = math.nan

SPEC = TableInput(
    front_end=TableFrontEnd(
        columns=(
            NumberColumn(name="amount", fill=10.0, lower=0.0, upper=1000.0, scale="log1p", mean=3.0, std=2.0),
            CategoryColumn(name="country", categories=("ES", "FR", "IT")),
            NumberColumn(name="hour", fill=12.0, mean=12.0, std=6.0),
        )
    )
)


def test_a_row_of_named_values() -> None:
    row = encode_row({"country": "FR", "amount": 12}, SPEC)
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

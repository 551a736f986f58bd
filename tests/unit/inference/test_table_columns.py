"""items/kinds/table.py: what describes the columns of a table, and what a description may not say."""

from __future__ import annotations

import pytest
from support.column_fields import CATEGORY, NUMBER, refusal

from avizor_inference.items.input_spec import CategoryColumn, NumberColumn, TableFrontEnd, TableInput


@pytest.mark.parametrize("field", ["fill", "lower", "upper", "mean", "std"])
def test_the_constants_of_a_column_are_finite(field: str) -> None:
    assert refusal(NumberColumn, NUMBER | {field: float("inf")}) == f"{field}: Input should be a finite number"


def test_the_bounds_of_a_column_leave_values_between_them() -> None:
    assert NumberColumn(name="a", lower=1.0, upper=1.5).upper == 1.5
    for upper in (1.0, 0.5):
        assert refusal(NumberColumn, {"name": "a", "lower": 1.0, "upper": upper}) == (
            f"file: column 'a': lower 1 is not below upper {upper:g}"
        )


def test_a_logarithm_is_taken_only_of_what_is_bounded_below() -> None:
    assert NumberColumn(name="a", scale="log1p", lower=-0.5).scale == "log1p"
    for lower in (None, -1.0, -2.0):
        assert refusal(NumberColumn, {"name": "a", "scale": "log1p", "lower": lower}) == (
            "file: column 'a': log1p needs lower above -1, as in lower 0; log(1 + value) ends there"
        )


def test_columns_and_categories_have_names_that_differ() -> None:
    assert refusal(CategoryColumn, {"name": "c", "categories": ["x", "y", "x"]}) == (
        "file: column 'c': a category is named twice"
    )
    twice = [NUMBER, NUMBER, CATEGORY, {"kind": "number", "name": "hour"}, CATEGORY]
    assert refusal(TableFrontEnd, {"columns": twice}) == "file: two columns are named 'amount', 'country'"
    for kind, fields, field in (
        (NumberColumn, NUMBER | {"name": ""}, "name"),
        (CategoryColumn, CATEGORY | {"name": ""}, "name"),
        (CategoryColumn, CATEGORY | {"categories": []}, "categories"),
        (TableFrontEnd, {"columns": []}, "columns"),
    ):
        assert "should have at least 1" in refusal(kind, fields), field
    one = {"columns": [{"kind": "category", "name": "c", "categories": ["x"]}]}
    assert TableFrontEnd.model_validate(one).features == ("c=x",)
    assert NumberColumn(name="a").name == "a"


def test_features_are_the_numbers_and_then_a_one_for_each_category() -> None:
    front_end = TableFrontEnd.model_validate({"columns": [CATEGORY, NUMBER, {"kind": "number", "name": "hour"}]})
    assert [(place, column.name) for place, column in front_end.numbers] == [(1, "amount"), (2, "hour")]
    assert [(place, column.name) for place, column in front_end.categories] == [(0, "country")]
    assert front_end.features == ("amount", "hour", "country=ES", "country=FR")
    assert TableInput(front_end=front_end).columns == ("country", "amount", "hour")


def test_missing_values_reach_the_network_if_one_column_is_not_filled() -> None:
    filled, open_ = NUMBER, NUMBER | {"name": "hour", "fill": None}
    for columns, passes in (([filled, CATEGORY], False), ([filled, open_], True), ([CATEGORY], False)):
        assert TableInput.model_validate({"front_end": {"columns": columns}}).passes_missing == passes

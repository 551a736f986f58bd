"""Rows of named columns: the front end against its definition, the constants from training rows, and the ways rows come in."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from pydantic import ValidationError

from avizor_export.data.real_data import recordings
from avizor_export.data.table_data import read_table
from avizor_export.front_ends.table_scaling import TableScaling, fitted
from avizor_export.loading.input_description import parse_input
from avizor_export.to_onnx import to_program
from avizor_inference.errors import ExportError, InvalidInput
from avizor_inference.inputs import CategoryColumn, NumberColumn, TableFrontEnd, TableInput
from avizor_inference.rows import encode_row
from avizor_inference.sources import SourceRule

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


def test_the_graph_is_the_definition() -> None:
    program = to_program(TableScaling(SPEC.front_end), torch.zeros(2, 3), ["record"], ["features"])
    assert {node.domain for node in program.model.graph} == {""}
    session = ort.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = np.array(
        [[99, 0, 18], [NAN, NAN, NAN], [-5, 2, 0], [1e9, 1, 24], [0, 7, -1e30]],
        np.float32,
    )
    (found,) = session.run(None, {"record": rows})

    def amount(clipped: float) -> float:
        return (math.log1p(clipped) - 3) / 2

    expected = [
        [amount(99), 1.0, 1, 0, 0],
        [amount(10), 0.0, 0, 0, 0],  # filled; a category that is missing is none of them
        [amount(0), -2.0, 0, 0, 1],  # clipped below
        [amount(1000), 2.0, 0, 1, 0],  # clipped above
        [amount(0), (-1e30 - 12) / 6, 0, 0, 0],  # a place beyond the categories is none; hour is not clipped
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert SPEC.front_end.features == ("amount", "hour", "country=ES", "country=FR", "country=IT")


@pytest.mark.parametrize(
    "columns",
    [(NumberColumn(name="a"), NumberColumn(name="b", mean=2, std=4)), (CategoryColumn(name="k", categories=("x", "y")),)],
    ids=["numbers only", "categories only"],
)
def test_tables_of_one_kind_of_column(columns: tuple[NumberColumn | CategoryColumn, ...]) -> None:
    front_end = TableFrontEnd(columns=columns)
    features = TableScaling(front_end)(torch.ones(3, len(columns)))
    assert features.shape == (3, len(front_end.features))


def test_constants_from_training_rows() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([rng.lognormal(3, 1, 500), rng.integers(0, 3, 500), rng.uniform(0, 24, 500)], axis=1).astype(np.float32)
    rows[::10, 0] = NAN
    found = fitted(SPEC, rows)
    numbers = TableScaling(found.front_end)(torch.from_numpy(rows))[:, :2]
    np.testing.assert_allclose(numbers.mean(dim=0), 0, atol=1e-4)
    np.testing.assert_allclose(numbers.std(dim=0, correction=0), 1, atol=1e-4)
    amount = found.front_end.columns[0]
    assert isinstance(amount, NumberColumn)
    assert amount.fill == pytest.approx(float(np.nanmedian(rows[:, 0])))
    assert (amount.lower, amount.upper, amount.scale) == (0.0, 1000.0, "log1p")


def test_a_column_that_never_changes_or_has_no_value() -> None:
    rows = np.array([[5, 0, 3], [5, 1, 3]], np.float32)
    hour = fitted(SPEC, rows).front_end.columns[2]
    assert isinstance(hour, NumberColumn)
    assert (hour.mean, hour.std) == (3.0, 1.0)
    rows[:, 0] = NAN
    with pytest.raises(ValueError, match="'amount' has no value in 2 rows"):
        fitted(SPEC, rows)


def test_a_row_of_named_values() -> None:
    row = encode_row({"country": "FR", "amount": 12}, SPEC)
    np.testing.assert_array_equal(row, np.array([12, 1, NAN], np.float32))
    np.testing.assert_array_equal(encode_row({"country": "XX", "hour": None}, SPEC), np.full(3, NAN, np.float32))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"iban": "x"}, "no column 'iban'; it takes amount, country, hour"),
        ({"amount": "12"}, "'amount' holds '12'; give a finite number"),
        ({"amount": math.inf}, "'amount' holds inf"),
        ({"country": 1.0}, "'country' holds 1.0; give one of ES, FR, IT"),
    ],
)
def test_a_row_that_does_not_fit(values: dict[str, float | str], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        encode_row(values, SPEC)


CSV = "hour,country,branch,amount\n18,ES,north,99\n,XX,south,\n7,IT,,12.5\n"
ROWS = np.array([[99, 0, 18], [NAN, NAN, NAN], [12.5, 2, 7]], np.float32)


def test_rows_of_a_file_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    np.testing.assert_array_equal(read_table(tmp_path / "rows.csv", SPEC).rows(), ROWS)
    table = pa.table({"amount": [99, None, 12.5], "country": ["ES", "XX", "IT"], "hour": pa.array([18, None, 7], pa.int64())})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    np.testing.assert_array_equal(read_table(tmp_path / "rows.parquet", SPEC).rows(), ROWS)
    found = list(recordings(tmp_path / "rows.csv", SPEC, SourceRule(), "branch"))
    assert [source for source, _ in found] == ["north", "south", "default"]
    np.testing.assert_array_equal(np.concatenate([row for _, row in found]), ROWS)


def test_a_source_that_looks_like_a_number_stays_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("amount,country,hour,branch\n99,ES,18,007\n")
    assert [source for source, _ in recordings(tmp_path / "rows.csv", SPEC, SourceRule(), "branch")] == ["007"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("amount,hour\n1,2\n", "no column 'country'; it has amount, hour"),
        ("amount,country,hour\n", "has no rows"),
        ("amount,country,hour\nmuch,ES,3\n", "column 'amount' holds something that is no number"),
        ("amount,country,hour\ninf,ES,3\n", "infinite number"),
        ("amount,country,hour\n1,ES\n", "cannot be read as csv"),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(ExportError, match=says):
        read_table(tmp_path / "rows.csv", SPEC).rows()


def test_a_column_of_sources_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    with pytest.raises(ExportError, match="no column 'office'; it has hour, country, branch, amount"):
        list(recordings(tmp_path / "rows.csv", SPEC, SourceRule(), "office"))


def test_the_description_on_the_command_line(tmp_path: Path) -> None:
    plain = parse_input("table:columns=amount/hour")
    assert isinstance(plain, TableInput)
    assert plain.columns == ("amount", "hour")
    (tmp_path / "table.json").write_text(SPEC.model_dump_json())
    assert parse_input(str(tmp_path / "table.json")) == SPEC
    with pytest.raises(ExportError, match="write table:columns=NAME/NAME"):
        parse_input("table:names=a")


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ({"kind": "number", "name": "a", "scale": "log1p"}, "log1p needs lower above -1"),
        ({"kind": "number", "name": "a", "lower": 2, "upper": 2}, "lower 2 is not below upper 2"),
        ({"kind": "number", "name": "a", "std": 0}, "std"),
        ({"kind": "number", "name": "a", "fill": NAN}, "fill"),
        ({"kind": "category", "name": "a", "categories": []}, "categories"),
        ({"kind": "category", "name": "a", "categories": ["x", "x"]}, "a category is named twice"),
        ({"kind": "date", "name": "a"}, "kind"),
    ],
)
def test_columns_that_make_no_sense(column: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TableFrontEnd.model_validate({"columns": [column]})


def test_two_columns_of_one_name() -> None:
    with pytest.raises(ValidationError, match="two columns are named 'a'"):
        TableFrontEnd(columns=(NumberColumn(name="a"), NumberColumn(name="a")))


def test_a_json_description_that_is_wrong_names_the_column(tmp_path: Path) -> None:
    described = json.loads(SPEC.model_dump_json())
    described["front_end"]["columns"][2]["std"] = -1
    (tmp_path / "table.json").write_text(json.dumps(described))
    with pytest.raises(ExportError, match=r"columns\.2\.number\.std"):
        parse_input(str(tmp_path / "table.json"))

"""front_ends/table_scaling.py, data/table_data.py and items/kinds/table.py.

Rows of named columns: the front end against its definition, the constants from training rows, and the ways rows come in.
"""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from pydantic import ValidationError
from support.tables import MIXED as SPEC

from avizor_export.data.held_out import read_held_out
from avizor_export.front_ends.build import fit_constants
from avizor_export.front_ends.table_scaling import TableScaling
from avizor_export.graph.to_onnx import to_program
from avizor_export.networks.input_description import parse_input
from avizor_inference.errors import DatasetError, ExportError
from avizor_inference.items.data.item_files import read_recordings, sample_items
from avizor_inference.items.data.table_data import read_table
from avizor_inference.items.dataset import Columns
from avizor_inference.items.input_spec import CategoryColumn, NumberColumn, TableFrontEnd, TableInput
from avizor_inference.items.source_rule import SourceRule

NAN = math.nan


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
    found = fit_constants(SPEC, [torch.from_numpy(rows)])
    numbers = TableScaling(found.front_end)(torch.from_numpy(rows))[:, :2]
    np.testing.assert_allclose(numbers.mean(dim=0), 0, atol=1e-4)
    np.testing.assert_allclose(numbers.std(dim=0, correction=0), 1, atol=1e-4)
    amount = found.front_end.columns[0]
    assert isinstance(amount, NumberColumn)
    assert (amount.fill, amount.lower, amount.upper, amount.scale) == (10.0, 0.0, 1000.0, "log1p")  # as they were given


def test_a_fill_that_is_not_given_is_the_median() -> None:
    rows = np.array([[1], [NAN], [2], [9]], np.float32)
    (column,) = fit_constants(
        TableInput(front_end=TableFrontEnd(columns=(NumberColumn(name="a"),))), [torch.from_numpy(rows)]
    ).front_end.columns
    assert isinstance(column, NumberColumn)
    assert (column.fill, column.mean) == (2.0, 3.5)


def test_large_numbers_that_change_little_are_standardised() -> None:
    """Seconds since 1970 over an hour: float32 keeps them to 128 seconds, which is still a change."""
    spec = TableInput(front_end=TableFrontEnd(columns=(NumberColumn(name="time"),)))
    rows = np.linspace(1.7e9, 1.7e9 + 3600, 500).astype(np.float32)[:, None]
    found = TableScaling(fit_constants(spec, [torch.from_numpy(rows)]).front_end)(torch.from_numpy(rows))
    assert float(found.std()) == pytest.approx(1, abs=0.05)


def test_a_column_that_never_changes_or_has_no_value() -> None:
    rows = np.array([[5, 0, 3], [5, 1, 3]], np.float32)
    hour = fit_constants(SPEC, [torch.from_numpy(rows)]).front_end.columns[2]
    assert isinstance(hour, NumberColumn)
    assert (hour.mean, hour.std) == (3.0, 1.0)
    rows[:, 0] = NAN
    with pytest.raises(ValueError, match="'amount' has no value in 2 rows"):
        fit_constants(SPEC, [torch.from_numpy(rows)])
    rows[:, 0] = 1, math.inf
    with pytest.raises(ValueError, match="'amount' holds numbers that are not finite"):
        fit_constants(SPEC, [torch.from_numpy(rows)])


CSV = "hour,country,branch,amount\n18,ES,north,99\n,XX,south,\n7,IT,,12.5\n"
ROWS = np.array([[99, 0, 18], [NAN, NAN, NAN], [12.5, 2, 7]], np.float32)


def test_rows_of_a_file_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    np.testing.assert_array_equal(read_table(tmp_path / "rows.csv", SPEC).rows(), ROWS)
    table = pa.table({"amount": [99, None, 12.5], "country": ["ES", "XX", "IT"], "hour": pa.array([18, None, 7], pa.int64())})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    np.testing.assert_array_equal(read_table(tmp_path / "rows.parquet", SPEC).rows(), ROWS)
    found = list(read_recordings(tmp_path / "rows.csv", SPEC, SourceRule(), Columns(source="branch")))
    assert [recording.source for recording in found] == ["north", "south", "default"]
    np.testing.assert_array_equal(np.concatenate([recording.windows for recording in found]), ROWS)


def test_a_source_that_looks_like_a_number_stays_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("amount,country,hour,branch\n99,ES,18,007\n")
    (recording,) = read_recordings(tmp_path / "rows.csv", SPEC, SourceRule(), Columns(source="branch"))
    assert recording.source == "007"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("amount,hour\n1,2\n", "no column 'country'; it has amount, hour"),
        ("amount,country,hour\n", "has no rows"),
        (
            "amount,country,hour\n1,ES,3\nmuch,ES,3\n",
            "column 'amount' holds 'much' in row 2, which is not a number; .* NA, N/A, .*",
        ),
        ('amount,country,hour\n"1.234,5",ES,3\n', "'amount' holds '1.234,5' in row 1; write decimals with a point"),
        ("amount,country,hour\n1,ES,2024-05-01\n", "'hour' holds '2024-05-01' in row 1, which is not a number"),
        ("amount,country,hour\n1,ES,3\ninf,ES,3\n", "'amount' holds an infinite number in row 2"),
        ("amount,country,hour\n-1e300,ES,3\n", r"'amount' holds -1e\+300, more than float32 holds in row 1"),
        ("amount,country,hour,amount\n1,ES,3,4\n", "has more than one column 'amount'; leave one of them out"),
        ("amount, country ,Hour\n1,ES,3\n", "; ' country ' is not 'country': rename it; 'Hour' is not 'hour': rename it"),
        ("amount,country,hour\n1,es,3\n2,,3\n", "'country' holds 'es' and none of its categories ES, FR, IT; write them so"),
        ("amount,country,hour\n1,ES\n", "cannot be read as csv"),
        ("amount;country;hour\n1;ES;3\n", "no column 'amount', 'country', 'hour'; its columns look separated by ';'"),
        ("amount;country;hour\n1,5;ES;3\n", "rows.csv: its columns look separated by ';'; .* so convert it: python -c "),
        ("amount\tcountry\thour\n1\tES\t3\n", r"its columns look separated by '\\t'; .* so convert it: python -c "),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(DatasetError, match=says):
        read_table(tmp_path / "rows.csv", SPEC).rows()


def test_what_stands_for_a_missing_value(tmp_path: Path) -> None:
    written = ["", "NA", "N/A", "#N/A", "?", "-", " nan ", "NULL", "None"]
    (tmp_path / "rows.csv").write_text("amount,country,hour\n7,ES,1\n" + "".join(f"{each},{each},2\n" for each in written))
    rows = read_table(tmp_path / "rows.csv", SPEC).rows()
    np.testing.assert_array_equal(np.isnan(rows[1:]), [[True, True, False]] * len(written))


def test_a_name_that_looks_like_a_missing_value(tmp_path: Path) -> None:
    """NA is also Namibia."""
    spec = TableInput(front_end=TableFrontEnd(columns=(CategoryColumn(name="country", categories=("ES", "NA")),)))
    (tmp_path / "rows.csv").write_text('country,label\nNA,None\nES,odd\n"",odd\n')
    np.testing.assert_array_equal(read_table(tmp_path / "rows.csv", spec).rows()[:, 0], np.array([1, 0, NAN], np.float32))
    assert read_held_out(tmp_path / "rows.csv", spec, ["odd", "None"]).labels.tolist() == [1, 0, 0]


def test_a_column_whose_kind_shows_late(tmp_path: Path) -> None:
    """Whole numbers over the first megabyte, then others; a truth value is 1 or 0."""
    (tmp_path / "rows.csv").write_text("amount,country,hour\n" + "1,ES,true\n" * 150_000 + "2.5,ES,False\n3,ES,NA\n")
    np.testing.assert_array_equal(read_table(tmp_path / "rows.csv", SPEC).rows()[-3:, [0, 2]], [[1, 1], [2.5, 0], [3, NAN]])


def test_dates_and_booleans_of_a_parquet_file(tmp_path: Path) -> None:
    days = pa.array([18000], pa.date32())
    pyarrow.parquet.write_table(pa.table({"amount": [True], "country": ["ES"], "hour": days}), tmp_path / "rows.parquet")
    with pytest.raises(DatasetError, match=r"column 'hour' is of type date32\[day\], not of numbers"):
        read_table(tmp_path / "rows.parquet", SPEC).rows()
    pyarrow.parquet.write_table(pa.table({"amount": [True], "country": ["ES"], "hour": ["7"]}), tmp_path / "rows.parquet")
    np.testing.assert_array_equal(read_table(tmp_path / "rows.parquet", SPEC).rows(), [[1, 0, 7]])


def test_unknown_categories_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "rows.csv").write_text("amount,country,hour\n" + "1,ES,1\n" * 6 + "1,XX,1\n" * 3 + "1,,1\n")
    read_table(tmp_path / "rows.csv", SPEC).rows()
    (said,) = caplog.messages
    assert said.endswith(
        "column 'country': 30.0% of the rows are of no category that the model has ('XX'), and 10.0% are missing"
    )


@pytest.mark.parametrize(
    ("text", "encoding", "wrong"),
    [
        (
            "amount,country,hour\n1,ES,2\n1,España,3\n",
            "cp1252",
            r"line 3 \(byte 0xf1\) is not in UTF-8; if a program of Windows",
        ),
        ("año,amount,country,hour\n1,1,ES,3\n", "cp1252", r"line 1 \(byte 0xf1\) is not in UTF-8; if a program of Windows"),
        ("año,amount,country,hour\n1,1,ES,3\n", "utf-16", "it is in UTF-16, not in UTF-8; convert it"),
    ],
)
def test_a_file_in_another_encoding_is_told_with_the_command_that_converts_it(
    tmp_path: Path, text: str, encoding: str, wrong: str
) -> None:
    path = tmp_path / "of may.csv"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(DatasetError, match=rf"of may\.csv: {wrong}.* with `iconv ") as caught:
        read_table(path, SPEC).rows()
    subprocess.run(str(caught.value).split("`")[1], shell=True, check=True)
    (made,) = tmp_path.glob("*-utf8.csv")
    assert made.read_text(encoding="utf-8") == text


def test_a_suffix_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "ROWS.CSV").write_text(CSV)
    np.testing.assert_array_equal(
        np.concatenate([recording.windows for recording in read_recordings(tmp_path / "ROWS.CSV", SPEC, SourceRule())]), ROWS
    )


@pytest.mark.parametrize("name", ["rows.csv", "rows", "rows.npy"])
def test_a_file_that_does_not_exist(tmp_path: Path, name: str) -> None:
    for read in (lambda path: sample_items(path, SPEC, 8), lambda path: list(read_recordings(path, SPEC, SourceRule()))):
        with pytest.raises(DatasetError, match=f"{name} does not exist"):
            read(tmp_path / name)
    with pytest.raises(DatasetError, match=f"{name} does not exist"):
        read_held_out(tmp_path / name, SPEC, ["a"])


def test_a_column_of_sources_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    with pytest.raises(DatasetError, match="no column 'office'; it has hour, country, branch, amount"):
        list(read_recordings(tmp_path / "rows.csv", SPEC, SourceRule(), Columns(source="office")))


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
    with pytest.raises(ExportError, match=r"json': table\.front_end\.columns\.2\.number\.std: Input should be greater than 0$"):
        parse_input(str(tmp_path / "table.json"))

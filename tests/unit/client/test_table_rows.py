"""cli/table_rows.py: the records of a CSV file are those of a batch job."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from avizor_client.cli.table_rows import NotATable, WrongRow, rows_of
from avizor_inference.items.data.csv_records import records, values_of

MODEL: Any = SimpleNamespace(input={"columns": [{"name": "amount"}, {"name": "country", "categories": ["ES", "FR"]}]})


def read(text: str) -> list[Any]:
    return [
        each.problem if isinstance(each, WrongRow) else each.cells for each in rows_of(io.StringIO(text, newline=""), MODEL)
    ]


def test_a_quote_that_is_not_closed_costs_its_row_alone() -> None:
    found = read('amount,country\n1,"ES\n2,FR\n3,"E"S\n4,ES\n')
    assert [each if isinstance(each, str) else each["amount"] for each in found] == [
        "the row is not a record of a CSV file (unexpected end of data)",
        2.0,
        "the row is not a record of a CSV file (',' expected after '\"')",
        4.0,
    ]


def test_lines_within_quotes_are_of_one_row() -> None:
    assert read('amount,country,"a\nnote"\n1,ES,"two\nlines, and ""more"""\n\n   \n2,FR,x\n') == [
        {"amount": 1.0, "country": "ES"},
        {"amount": 2.0, "country": "FR"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        'a,b\n1,"2\n3,4\n5,6\n',
        'a,b\n1,"2\n3",4\n5,6\n',
        'a,b\n1,"2\n3"4\n5,"6"\n',
        'a,b\r\n"1","2"\r\n \r\n"3,\r\n4",""""\r\n5,6',
        'a,b\n"1,2\n3,4"\n"5,6\n7,""8\n',
    ],
)
def test_records_are_those_of_a_batch_job(text: str) -> None:
    of_a_job = []
    for _, record in list(records(io.BytesIO(text.encode())))[1:]:
        try:
            of_a_job.append(len(values_of(record)))
        except ValueError:
            of_a_job.append(0)
    model: Any = SimpleNamespace(input={"columns": [{"name": "a", "categories": ["x"]}]})
    found = list(rows_of(io.StringIO(text, newline=""), model))
    assert len(found) == len(of_a_job)
    assert [isinstance(each, WrongRow) for each in found] == [values != 2 for values in of_a_job]


def test_a_column_names_the_source_of_each_row() -> None:
    text = "bank,amount,country\nnorth,1,ES\n,2,FR\nsouth,3,ES\n"
    found = [
        each.problem if isinstance(each, WrongRow) else (each.source, each.cells["amount"])
        for each in rows_of(io.StringIO(text, newline=""), MODEL, "bank")
    ]
    assert found[0] == ("north", 1.0)
    assert found[1] == "column 'bank', which names the sources, is empty here; write the source of the row"
    assert found[2] == ("south", 3.0)
    of_the_model = rows_of(io.StringIO("amount,country\n1,ES\n", newline=""), MODEL, "country")
    assert [each.source for each in of_the_model if not isinstance(each, WrongRow)] == ["ES"]
    with pytest.raises(NotATable, match="the table has no column 'bank'; it has amount, country"):
        next(rows_of(io.StringIO("amount,country\n1,ES\n", newline=""), MODEL, "bank"))

"""csv_records.py: where the records of a CSV file are, and what a wrong one costs."""

from __future__ import annotations

import io

import pytest

from avizor_inference.errors import MediaError
from avizor_inference.items.data.csv_records import LONGEST_RECORD, header_of, records, values_of


def read(data: bytes) -> list[list[str] | str]:
    """The values of each record after the header; for one that cannot be read, why."""
    file = io.BytesIO(data)
    header_of(file)
    found: list[list[str] | str] = []
    for end, record in records(file):
        assert data[:end].endswith(record)
        try:
            found.append(values_of(record))
        except ValueError as error:
            found.append(str(error))
    return found


def test_a_record_may_have_lines_commas_and_quotes_within_quotes() -> None:
    assert read(b'a,b\r\n1,2\r\n\r\n"x\ny, ""z""",3\r\n') == [["1", "2"], ['x\ny, "z"', "3"]]


def test_the_header_may_begin_with_a_byte_order_mark() -> None:
    file = io.BytesIO(b"\xef\xbb\xbfname,hour\n1,2\n")
    assert header_of(file) == ["name", "hour"]
    assert [record for _, record in records(file)] == [b"1,2\n"]


@pytest.mark.parametrize("wrong", [b'5" pipe', b'"open', b"\xe9t\xe9"])
def test_a_wrong_record_costs_no_other_one(wrong: bytes) -> None:
    before, _, after, last = read(b"a,b\n1,2\n" + wrong + b',3\n4,5\n"6","7"\n')
    assert (before, after, last) == (["1", "2"], ["4", "5"], ["6", "7"])


def test_a_quote_that_is_never_closed_costs_its_line() -> None:
    rows = read(b'a,b\n"open,1\n' + (b"2," + b"3" * 1000 + b"\n") * 1100)
    assert "unexpected end" in rows[0]
    assert len(rows) == 1101


def test_what_is_no_table_is_said() -> None:
    with pytest.raises(MediaError, match="the file is empty"):
        header_of(io.BytesIO(b"\n"))
    with pytest.raises(MediaError, match="this is not a CSV file of rows"):
        list(records(io.BytesIO(b"\0" * (LONGEST_RECORD + 1))))

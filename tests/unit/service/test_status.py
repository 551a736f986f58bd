"""status.py: the table from errors to codes, and what a caller is told."""

from __future__ import annotations

import pytest
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest

from avizor_inference import errors
from avizor_service.status import item_status, status_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ModelNotFound("no model"), Code.NOT_FOUND),
        (errors.InvalidInput("bad"), Code.INVALID_ARGUMENT),
        (errors.UnknownOutput("bad"), Code.INVALID_ARGUMENT),
        (errors.BatchTooLarge("bad"), Code.INVALID_ARGUMENT),
        (errors.MediaError("cut off"), Code.INVALID_ARGUMENT),
        (errors.CalibrationError("too few"), Code.FAILED_PRECONDITION),
        (errors.VersionRefused("another file"), Code.FAILED_PRECONDITION),
        (errors.SettingsError("no GPU"), Code.FAILED_PRECONDITION),
        (errors.TokenFileError("no token"), Code.FAILED_PRECONDITION),
        (errors.DeadlineExceeded("late"), Code.DEADLINE_EXCEEDED),
        (errors.GatewayFull("full"), Code.RESOURCE_EXHAUSTED),
        (errors.EngineUnavailable("away"), Code.UNAVAILABLE),
        (errors.EngineBusy("many wait"), Code.RESOURCE_EXHAUSTED),
        (errors.GpuFull("no memory"), Code.RESOURCE_EXHAUSTED),
        (errors.EngineError("failed"), Code.INTERNAL),
        (errors.JobError("not a request"), Code.INTERNAL),
    ],
)
def test_each_error_has_one_code_and_only_what_passes_by_itself_is_worth_another_try(
    error: errors.AvizorError, code: int
) -> None:
    status = status_of(error)
    assert status.code == code
    retried = any(detail.type_url.endswith("RetryInfo") for detail in status.details)
    assert retried == (code in (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE))
    assert (status.message == str(error)) == (code != Code.INTERNAL)


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (errors.InvalidInput("bad", field="row.amount"), "items[3].row.amount"),
        (errors.InvalidInput("bad"), "items[3]"),
        (errors.MediaError("cut off"), "items[3]"),
    ],
)
def test_the_status_of_an_item_names_its_place_and_the_field_in_it(error: errors.AvizorError, field: str) -> None:
    (detail,) = item_status(error, 3).details
    violation = BadRequest()
    assert detail.Unpack(violation)
    assert [each.field for each in violation.field_violations] == [field]


@pytest.mark.parametrize("name", ["a" * 9000, "\N{GRINNING FACE}" * 5000, "\x01" * 9000, "\udcff" * 9000])
def test_a_long_text_is_cut_to_what_headers_hold(name: str) -> None:
    status = status_of(errors.InvalidInput(f"no model named {name}", field="model"))
    assert status.message.startswith("no model named ")
    assert len(status.SerializeToString()) < 4000

"""The exit status is pushed also if a job ends with an unexpected error."""

from __future__ import annotations

import pytest
from integration.jobs import pushgateway

from avizor_pipeline.cli.exit_status import PushedEnd, exit_code
from avizor_pipeline.reporting.metrics import BatchMetrics


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ZeroDivisionError(), 1),
        (MemoryError(), 1),
        (SystemExit("a library's"), 1),
        (SystemExit(143), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_whatever_is_raised_is_pushed_and_goes_on(error: BaseException, code: int) -> None:
    with pushgateway() as sink, pytest.raises((type(error), SystemExit)), PushedEnd(BatchMetrics(), sink.address, "night"):
        raise error
    assert (sink.codes, sink.paths) == ([code], ["/metrics/job/night"])


def test_what_a_lost_terminal_raises_does_not_hide_the_signal() -> None:
    try:
        try:
            raise SystemExit(129)
        finally:
            raise OSError(5, "Input/output error")
    except OSError as error:
        assert exit_code(error) == 129

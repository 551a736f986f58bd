"""What libraries write for their own developers is hidden, and everything is as before afterwards."""

from __future__ import annotations

import logging
import sys
import warnings

import pytest

from avizor_export.graph.quiet_libraries import quiet


@pytest.mark.parametrize("name", ["", "some.library"])
def test_only_errors_of_the_library_get_through(
    name: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    logger = logging.getLogger(name)
    level = logger.level
    with quiet(name):
        logger.warning("advice")
        logger.error("failure")
        warnings.warn("deprecated", stacklevel=1)
        print("a graph", file=sys.stderr)
    assert [record.message for record in caplog.records] == ["failure"]
    assert not recwarn.list
    assert capsys.readouterr().err == ""
    assert logger.level == level


def test_an_error_inside_leaves_nothing_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("some.library").level
    with pytest.raises(ZeroDivisionError), quiet("some.library"):
        _ = 1 / 0
    print("heard", file=sys.stderr)
    assert capsys.readouterr().err == "heard\n"
    assert logging.getLogger("some.library").level == level

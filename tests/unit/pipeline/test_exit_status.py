"""The exit status is pushed also if a job ends with an unexpected error."""

from __future__ import annotations

import re
import time

import pytest
from integration.jobs import eventually, pushgateway

from avizor_pipeline.cli.exit_status import PushedEnd, exit_code
from avizor_pipeline.reporting.metrics import BatchMetrics
from avizor_pipeline.reporting.pushgateway import Heartbeat, Pushgateway


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
    assert "avizor_batch_running 0.0" in sink.texts[0]
    assert {path for path, _ in sink.added} == {"/metrics/job/night"}  # no success is pushed


def test_a_job_pushes_its_start_before_its_end_and_keeps_how_the_last_run_ended() -> None:
    with pushgateway() as sink, PushedEnd(BatchMetrics(started_at=1e9), sink.address, "night", 86400.0) as end:
        assert eventually(lambda: bool(sink.added))
        assert sink.codes == []
        assert end.push(3) == ""
    (path, began), (kept_path, kept) = sink.added
    assert path == "/metrics/job/night"
    assert "avizor_batch_running 1.0" in began
    assert "avizor_batch_last_start_timestamp_seconds 1e+09" in began
    assert "exit_code" not in began
    assert "finish" not in began
    assert kept_path == "/metrics/job/night/outcome/success"
    (succeeded,) = re.findall(r"^avizor_batch_last_success_timestamp_seconds (\S+)$", kept, re.MULTILINE)
    assert abs(float(succeeded) - time.time()) < 60
    assert "avizor_batch_runs_every_seconds 86400.0" in kept
    assert "avizor_batch_last_start_timestamp_seconds 1e+09" in sink.texts[0]


def test_a_job_pushes_again_and_again_while_it_runs() -> None:
    with pushgateway() as sink:
        heartbeat = Heartbeat(Pushgateway(sink.address, "night"), BatchMetrics(), every_s=0.02)
        assert eventually(lambda: len(sink.added) > 2)
        heartbeat.stop()
        pushed = len(sink.added)
        time.sleep(0.1)
        assert len(sink.added) == pushed


def test_what_a_lost_terminal_raises_does_not_hide_the_signal() -> None:
    try:
        try:
            raise SystemExit(129)
        finally:
            raise OSError(5, "Input/output error")
    except OSError as error:
        assert exit_code(error) == 129

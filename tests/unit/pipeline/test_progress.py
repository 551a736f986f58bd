"""reporting/progress.py: what a person sees while a job runs, on a terminal and in a log."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from avizor_pipeline.job_outcome import Outcome
from avizor_pipeline.reporting.progress import show_progress, size
from avizor_pipeline.sinks.output_folder import Finished
from avizor_pipeline.sinks.part_files import SourceCount
from avizor_pipeline.sinks.section_files import FinishedSections, SectionRecord


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (99_940, "99.9 kB"), (100_000, "0.1 MB"), (3_210_000, "3.2 MB")],
)
def test_a_small_size_is_not_nothing(count: int, text: str) -> None:
    assert size(count) == text


def so_far(files: int, earlier: int = 0) -> Outcome:
    """What a job came to after so many files: two flagged, one unreadable."""
    return Outcome(
        files=files, earlier_files=earlier, dead_letters=1, sources={"normal": {"a": SourceCount(recordings=3, anomalies=2)}}
    )


def test_a_line_has_rate_time_left_anomalies_and_dead_letters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 120.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with show_progress(400) as show:
        show(so_far(300, earlier=100))
    (line,) = capsys.readouterr().err.splitlines()
    # 200 files of this run in 20 s: 100 more take 10 s
    assert line == "avizor batch: 300/400 items, 10 items/s, 0:00:10 left, 2 anomalies, 1 dead letter"


def test_a_run_with_nothing_to_do_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(400) as show:
        show(so_far(400, earlier=400))
    assert "400/400 items, nothing was left to do, 2 anomalies, 1 dead letter\n" in capsys.readouterr().err


def test_a_log_gets_lines_at_a_bounded_pace_and_the_last_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with show_progress(100_000) as show:
        for files in range(1, 100_001):  # one shard a second: a job of 28 hours
            now += 1.0
            show(so_far(files))
    lines = capsys.readouterr().err.splitlines()
    assert 500 < len(lines) < 600
    assert lines[-1].startswith("avizor batch: 100000/100000 items, 1 item/s, 0:00:00 left")


def test_a_line_counts_what_is_done_of_a_long_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    outcome = Outcome()
    outcome.resume(Finished(sections={"long": FinishedSections(of=10, done={0, 1})}))
    with show_progress(2) as show:
        for number in (2, 3):
            now += 50.0
            section = SectionRecord(id="", shard="long", number=number, of=10, windows=1, sha256={}, models={})
            outcome.add_section(section)
            show(outcome)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("avizor batch: 0.40/2 items, 0.002 items/s, 0:13:20 left")  # 0.2 of a file in 100 s


def test_a_terminal_shows_a_bar_with_the_same_numbers() -> None:
    master, slave = pty.openpty()
    code = (
        "from unit.pipeline.test_progress import so_far; from avizor_pipeline.reporting.progress import show_progress\n"
        "with show_progress(4, lambda met: ['so far [odd] files']) as show: show(so_far(4))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "COLUMNS": "150"}
    subprocess.run([sys.executable, "-c", code], stderr=slave, env=environment, timeout=60, check=True)
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert "4/4" in shown
    assert "2 anomalies, 1 dead letter" in shown
    assert re.search(r"\r\x1b\[2Kavizor batch: so far \[odd\] files\r\n", shown)  # a line of its own above the bar


def test_the_time_left_is_by_bytes_where_they_are_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long file in ten sections and fifty short ones of the same length together."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    outcome = Outcome(work={"long": 1000, "short": 1000})
    outcome.resume(Finished(sections={"long": FinishedSections(of=10, done={0, 1})}))
    with show_progress(51) as show:
        for number in range(2, 7):
            now += 10.0
            outcome.add_section(SectionRecord(id="", shard="long", number=number, of=10, windows=1, sha256={}, models={}))
        show(outcome)
    assert "items/s, 0:02:10 left" in capsys.readouterr().err  # 500 bytes in 50 s, and 1300 to come

"""fitting/progress.py: how long the whole command takes with all steps, by those that were done."""

from __future__ import annotations

import re

import pytest

from avizor_export.fitting.progress import TrainingProgress, publishing_s


def seconds_told(capsys: pytest.CaptureFixture[str]) -> int:
    said = re.search(r"the whole command takes about (\d+) s more, with all steps and at this speed", capsys.readouterr().err)
    assert said
    return int(said[1])


def test_a_fold_that_ended_early_does_not_make_the_others_look_short(capsys: pytest.CaptureFixture[str]) -> None:
    clock = [100.0]
    progress = TrainingProgress("train", 2, is_terminal=True, clock=lambda: clock[0])
    clock[0] += 5
    progress(50, 200)  # a tenth of a second a step
    assert seconds_told(capsys) == 35 + publishing_s(2)
    progress.next_round()
    clock[0] += 5
    progress(50, 200)
    assert seconds_told(capsys) == 15 + publishing_s(2)


def test_a_slow_first_step_does_not_make_the_others_look_long(capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    progress = TrainingProgress("train", is_terminal=True, clock=lambda: clock[0])
    for step in range(1, 10):
        clock[0] += 30 if step == 1 else 0.1
        progress(step, 100)
    assert capsys.readouterr().err == ""
    clock[0] += 0.1
    progress(10, 100)
    assert seconds_told(capsys) == 9 + publishing_s()


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    progress = TrainingProgress("train", 5, is_terminal=False, clock=lambda: clock[0])
    for step in range(1, 41):
        clock[0] += 1
        progress(step, 1000)
    assert len(capsys.readouterr().err.splitlines()) == 3

"""throughput.py: what is measured of work that arrives and leaves, with a clock that the tests set."""

from __future__ import annotations

import math

import pytest

from avizor_service.throughput import Throughput


class Clock:
    """A clock that shows what it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def worked(clock: Clock, throughput: Throughput, rows_per_s: float, seconds: float, queue: int = 1) -> None:
    """Let work arrive and leave so that `queue` units are in progress all the time."""
    throughput.enter(queue)
    for _ in range(round(rows_per_s * seconds)):
        clock.now += 1 / rows_per_s
        throughput.leave(1, done=True)
        throughput.enter(1)
    throughput.leave(queue, done=False)


def test_the_wait_is_what_is_in_progress_over_what_leaves_in_a_second() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    worked(clock, throughput, 100, 3)
    throughput.enter(50)
    wait_s = throughput.wait_s()
    assert wait_s is not None
    assert math.isclose(wait_s, 0.5, rel_tol=0.02)


def test_nothing_is_known_before_the_first_answers_and_nothing_in_progress_is_no_wait() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    assert throughput.wait_s() == 0
    throughput.enter(10)
    clock.now += 60  # what is done once, such as to load a model
    throughput.leave(1, done=True)
    assert throughput.wait_s() is None


def test_a_second_unit_that_takes_long_is_no_endless_wait() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    throughput.enter(3)
    clock.now += 1
    throughput.leave(1, done=True)
    waits = []
    for _ in range(3):
        clock.now += 0.5
        waits.append(throughput.wait_s() or math.nan)
    assert waits == pytest.approx([1, 2, 3], rel=0.01)  # two are in progress, and one may leave now at the earliest


def test_idle_time_does_not_make_it_slower() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    worked(clock, throughput, 100, 3)
    before = throughput.rate()
    clock.now += 3600
    assert throughput.rate() == before


def test_work_that_stands_still_raises_the_wait_while_it_does() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    worked(clock, throughput, 100, 3)
    throughput.enter(10)
    waits = []
    for _ in range(4):
        waits.append(throughput.wait_s() or 0)
        clock.now += 5
    assert waits == sorted(waits)
    assert waits[-1] > 10 * waits[0]


def test_a_model_that_becomes_faster_or_slower_is_noticed_within_seconds_of_work() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    worked(clock, throughput, 100, 20)
    worked(clock, throughput, 10, 10)
    slower = throughput.rate() or 0
    worked(clock, throughput, 100, 10)
    faster = throughput.rate() or 0
    assert slower < 30
    assert faster > 70


def test_work_that_was_not_done_does_not_count_as_done() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    worked(clock, throughput, 100, 3)
    throughput.enter(10)
    clock.now += 5
    throughput.leave(10, done=False)
    assert (throughput.rate() or 0) < 50
    assert throughput.in_progress == 0

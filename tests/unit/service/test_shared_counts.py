"""Limits of several workers: real processes take and give, and a semaphore of the system says how many hold something."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.synchronize import BoundedSemaphore, Event
from pathlib import Path
from typing import get_args

import pytest

from avizor_service.whole import LimitName
from avizor_service.workers.shared_counts import SharedCounts

WORKERS, MOST, TIMES = 4, 3, 3000
PATIENCE_S = 60.0


def take_and_give(folder: Path, worker: int, held: BoundedSemaphore) -> None:
    """Hold something again and again. Ends with 1 if more hold it than may, with 2 if this worker never got it.

    Tries go on until there was one that got it: the others may be stopped by the system while they hold all there is.
    """
    limit = SharedCounts(folder, WORKERS).limit(worker, "in_flight", MOST)
    taken, tries, end = 0, 0, time.monotonic() + PATIENCE_S
    while tries < TIMES or (not taken and time.monotonic() < end):
        tries += 1
        if not limit.take():
            continue
        taken += 1
        if not held.acquire(block=False):
            raise SystemExit(1)
        held.release()
        limit.give()
    raise SystemExit(0 if taken else 2)


def test_workers_together_never_hold_more_than_the_limit(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.BoundedSemaphore(MOST)
    workers = [context.Process(target=take_and_give, args=(tmp_path, number + 1, held)) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * WORKERS
    assert SharedCounts(tmp_path, WORKERS).limit(1, "in_flight", MOST).used == 0


def test_one_worker_may_use_all_that_the_others_leave(tmp_path: Path) -> None:
    first, second = (SharedCounts(tmp_path, 2).limit(number, "message_bytes", 1000) for number in (1, 2))
    assert first.take(700)
    assert not second.take(301)
    assert second.take(300)
    assert first.used == second.used == 1000
    first.give(700)
    assert second.take(700)
    second.add(100)  # an answer, which is there already
    assert first.used == 1100
    assert not first.take(0)


def ask_for_much(folder: Path, asks: Event) -> None:
    limit = SharedCounts(folder, 2).limit(2, "message_bytes", 6)
    assert not limit.take(3)
    asks.set()
    while not limit.take(3):
        pass


def test_who_asks_for_more_than_there_is_takes_nothing_from_who_asks_for_less(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    asks = context.Event()
    other = context.Process(target=ask_for_much, args=(tmp_path, asks), daemon=True)
    limit = SharedCounts(tmp_path, 2).limit(1, "message_bytes", 6)
    assert limit.take(5)
    other.start()
    assert asks.wait(60)
    for _ in range(20_000):
        assert limit.take(1)
        limit.give(1)
    limit.give(5)
    other.join()
    assert other.exitcode == 0


def take_and_wait(folder: Path, taken: Event) -> None:
    SharedCounts(folder, 2).limit(1, "streams", 5).take(5)
    taken.set()
    multiprocessing.Event().wait()


def test_what_a_killed_worker_held_is_free_again(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    taken = context.Event()
    killed = context.Process(target=take_and_wait, args=(tmp_path, taken))
    killed.start()
    assert taken.wait(60)
    counts = SharedCounts(tmp_path, 2)
    limit = counts.limit(2, "streams", 5)
    assert not limit.take()
    killed.kill()
    killed.join()
    counts.forget(1)
    assert limit.take(5)


def test_bytes_of_a_client_are_those_of_all_workers_and_of_a_killed_one_no_more(tmp_path: Path) -> None:
    counts = SharedCounts(tmp_path, 3)
    first, third = counts.message_bytes(1), counts.message_bytes(3)
    first.add("a", 5)
    third.add("a", 2)
    third.add("b", 9)
    assert (first.of("a"), third.of("a"), first.of("b"), first.of("c")) == (7, 7, 9, 0)
    first.add("a", -5)
    assert third.of("a") == 2
    assert all(counts.limit(number, name, 1).used == 0 for number in (1, 2, 3) for name in get_args(LimitName))
    counts.forget(3)
    assert (first.of("a"), first.of("b")) == (0, 0)


@pytest.mark.parametrize("name", get_args(LimitName))
def test_limits_do_not_disturb_each_other(tmp_path: Path, name: LimitName) -> None:
    counts = SharedCounts(tmp_path, 3)
    for other in get_args(LimitName):
        if other != name:
            assert counts.limit(2, other, 9).take(9)
    assert counts.limit(3, name, 9).used == 0

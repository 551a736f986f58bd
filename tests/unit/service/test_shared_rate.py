"""The rate of a token over several workers: real processes call, and what was let in is counted."""

from __future__ import annotations

import multiprocessing
from multiprocessing.queues import Queue
from pathlib import Path

import pytest

from avizor_inference.errors import RateExceeded
from avizor_service.workers.shared_rate import SharedRate

WORKERS, CALLS = 3, 500

# Calls a second: none comes back while the test runs.
SLOW = 0.001


def call(path: Path, let_in: Queue[int]) -> None:
    rate, count = SharedRate(path, SLOW, lambda: None), 0
    rate._most = rate._left = 100.0  # at once
    for _ in range(CALLS):
        try:
            rate.take()
        except RateExceeded:
            continue
        count += 1
    let_in.put(count)


def test_workers_together_let_in_as_many_calls_as_one_would(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    let_in = context.Queue()
    workers = [context.Process(target=call, args=(tmp_path / "rate", let_in)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    counts = [let_in.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sum(counts) == 100


def test_a_worker_that_comes_later_finds_what_others_have_used(tmp_path: Path) -> None:
    refused: list[int] = []
    first = SharedRate(tmp_path / "rate", SLOW, lambda: None)
    first.take()
    later = SharedRate(tmp_path / "rate", SLOW, lambda: refused.append(1))
    with pytest.raises(RateExceeded):
        later.take()
    assert refused == [1]

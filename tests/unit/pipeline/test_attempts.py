"""runners/attempts.py: what is done with a shard whose worker dies."""

from __future__ import annotations

import pytest
from unit.pipeline.jobs import entry

from avizor_inference.errors import JobError
from avizor_pipeline.runners.attempts import Attempt
from avizor_pipeline.sharding import Shard

NAMES = tuple("abcdefg")


def shard() -> Shard:
    return Shard("0" * 16, tuple(entry(name) for name in NAMES))


def run(attempt: Attempt, kills: set[str], seen_at: str | None = None) -> int:
    """Do tasks until the shard is done; return how many. kills: files that kill. seen_at: where the worker seems to be then."""
    for number in range(1, 100):
        task = attempt.task
        read = [each.uri for each in task.shard.entries if each.uri not in task.lost]
        if not kills & set(read):
            if not task.trial:
                return number
            attempt.worker_survived()
            continue
        uris = [each.uri for each in task.shard.entries]
        at = seen_at if seen_at in read else next(uri for uri in read if uri in kills)
        attempt.worker_died(uris.index(at), "SIGKILL")
    raise AssertionError("it never ends")


def test_a_worker_that_dies_once_costs_one_more_run() -> None:
    attempt = Attempt(shard())
    attempt.worker_died(3, "SIGKILL")
    assert attempt.task.shard == shard()
    assert not attempt.task.trial
    assert attempt.lost == {}


@pytest.mark.parametrize("kills", [{"a"}, {"g"}, {"c", "d"}, set(NAMES)])
def test_every_file_that_kills_is_found_and_no_other(kills: set[str]) -> None:
    attempt = Attempt(shard())
    run(attempt, kills)
    assert attempt.lost.keys() == kills


def test_a_file_that_kills_later_is_found_by_splitting() -> None:
    attempt = Attempt(shard())
    run(attempt, {"b"}, seen_at="f")
    assert attempt.lost.keys() == {"b"}


def test_one_death_of_the_reader_of_a_file_alone_costs_no_file() -> None:
    """Somebody may have ended it: a file is lost when it kills alone twice."""
    attempt = Attempt(shard())
    attempt.worker_died(3, "SIGKILL")
    attempt.worker_died(3, "SIGKILL")
    assert [each.uri for each in attempt.task.shard.entries] == ["d"]
    attempt.worker_died(0, "SIGKILL")
    while attempt.task.trial:
        attempt.worker_survived()
    assert attempt.lost == {}


def test_a_shard_that_kills_although_each_file_is_survived_ends_the_job_with_what_to_do() -> None:
    attempt = Attempt(shard())
    for _ in range(4):
        attempt.worker_died(6, "SIGKILL")
        while attempt.task.trial:
            attempt.worker_survived()
    with pytest.raises(JobError, match=r"died 5 times in one shard .*; finished shards are kept: use fewer --workers"):
        attempt.worker_died(6, "SIGKILL")
    assert attempt.lost == {}


def test_deaths_in_the_commit_are_held_against_no_file_and_end_the_job_in_their_own_words() -> None:
    attempt = Attempt(shard())
    attempt.worker_died_in_commit("SIGBUS", is_cause=False)
    assert attempt.commits_alone
    for _ in range(3):
        attempt.worker_died_in_commit("SIGBUS", is_cause=True)
        assert not attempt.task.trial
    with pytest.raises(JobError, match=r"died 4 times as it committed one shard \(ended by SIGBUS; .* finished shards"):
        attempt.worker_died_in_commit("SIGBUS", is_cause=True)
    assert attempt.lost == {}

"""batch_queue.py and batch_policy.py: which requests make the next batch, by a clock that the test sets."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.lookup_model import lookup_items
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.batch_policy import BatchPolicy
from avizor_inference.engines.batch_queue import BatchQueue, Pending
from avizor_inference.errors import DeadlineExceeded, EngineBusy
from avizor_inference.repository.triton_config import parse_config

POLICY = BatchPolicy(8, together=True, delay_s=10.0)


def pending(arrived: float, rows: int = 1, timeout_s: float | None = None, output: str = "score") -> Pending:
    request = InferRequest("m", {"input": lookup_items(*range(rows))}, [output], timeout_s=timeout_s)
    return Pending(request, rows, arrived, lambda _: None)


def queue_of(policy: BatchPolicy, *requests: Pending) -> BatchQueue:
    queue = BatchQueue("m", policy)
    for request in requests:
        queue.add(request)
    return queue


def config(fields: str) -> ModelConfig:
    return parse_config(f'name: "m" max_batch_size: 8 {fields}', "test")


def test_a_policy_has_what_the_configuration_says() -> None:
    fields = (
        "dynamic_batching { preferred_batch_size: [ 8, 4 ] max_queue_delay_microseconds: 500 default_queue_policy { "
        "timeout_action: DELAY default_timeout_microseconds: 2000 max_queue_size: 7 } }"
    )
    expected = BatchPolicy(8, True, (4, 8), 0.0005, max_waiting=7, wait_limit_s=0.002, refuses=False)
    assert BatchPolicy.of(config(fields)) == expected
    assert BatchPolicy.of(config("dynamic_batching { }")) == BatchPolicy(8, together=True)
    assert BatchPolicy.of(config("")) == BatchPolicy(8, together=False)


def test_of_priority_levels_the_default_ones_policy_holds() -> None:
    fields = (
        "dynamic_batching { priority_levels: 2 default_priority_level: 2 default_queue_policy { max_queue_size: 7 } "
        "priority_queue_policy { key: 2 value { max_queue_size: 3 } } }"
    )
    assert BatchPolicy.of(config(fields)).max_waiting == 3
    assert BatchPolicy.of(config(fields.replace("default_priority_level: 2", "default_priority_level: 1"))).max_waiting == 7


def test_a_batch_is_due_after_the_delay_of_its_oldest_request_or_when_it_is_filled() -> None:
    queue = queue_of(POLICY, pending(100.0))
    assert queue.due(others_run=False) == 100.0  # alone
    assert queue.due(others_run=True) == 110.0
    queue.add(pending(105.0, rows=3))
    assert queue.due(others_run=False) == 110.0
    queue.add(pending(106.0, rows=4))
    assert queue.due(others_run=True) == 100.0


def test_a_request_whose_deadline_has_passed_is_not_in_the_batch() -> None:
    late, early = pending(100.0, timeout_s=5.0), pending(101.0, timeout_s=50.0)
    queue = queue_of(POLICY, late, early)
    assert queue.take(106.0, 8) == ([early], [late])
    assert isinstance(queue.refusal(late, 106.0), DeadlineExceeded)
    assert queue.rows == len(queue) == 0


def test_requests_that_waited_too_long_run_after_all_others_if_the_policy_delays_them() -> None:
    policy = replace(POLICY, max_rows=2, wait_limit_s=5.0, refuses=False)
    requests = [pending(arrived) for arrived in (100.0, 101.0, 104.0, 105.0, 106.0)]
    queue = queue_of(policy, *requests)
    assert queue.take(106.5, 2) == (requests[2:4], [])
    assert queue.take(106.5, 2) == ([requests[4], requests[0]], [])
    assert queue.take(106.5, 2) == ([requests[1]], [])


def test_requests_that_waited_too_long_have_failed_if_the_policy_refuses_them() -> None:
    policy = replace(POLICY, wait_limit_s=5.0)
    first, second = pending(100.0, timeout_s=50.0), pending(104.0, timeout_s=2.0)
    queue = queue_of(policy, first, second)
    assert (queue.fails_at(first), queue.fails_at(second)) == (105.0, 106.0)
    assert queue.take(105.5, 8) == ([second], [first])
    assert isinstance(queue.refusal(first, 105.5), EngineBusy)
    assert queue.fails_at(pending(100.0)) == 105.0
    assert BatchQueue("m", POLICY).fails_at(pending(100.0)) == math.inf


def test_requests_for_other_outputs_keep_their_places() -> None:
    requests = [pending(100.0 + number, output=output) for number, output in enumerate(["a", "b", "a", "b"])]
    queue = queue_of(POLICY, *requests)
    assert queue.take(200.0, 8) == ([requests[0], requests[2]], [])
    assert queue.take(200.0, 8) == ([requests[1], requests[3]], [])


@pytest.mark.parametrize(("rows", "expected"), [([1, 1, 1], [2]), ([3, 2], [1]), ([1] * 5, [4]), ([1] * 9, [8])])
def test_the_size_is_the_largest_preferred_one_that_is_filled(rows: list[int], expected: list[int]) -> None:
    requests = [pending(100.0 + number, each) for number, each in enumerate(rows)]
    queue = queue_of(replace(POLICY, preferred=(2, 4, 8)), *requests)
    assert [len(queue.take(200.0, 8)[0])] == expected


def test_a_cancelled_request_is_not_in_the_batch() -> None:
    cancelled, other = pending(100.0), pending(101.0)
    queue = queue_of(POLICY, cancelled, other)
    cancelled.cancel()
    assert queue.take(101.0, 8) == ([other], [])
    assert not queue.remove(cancelled)

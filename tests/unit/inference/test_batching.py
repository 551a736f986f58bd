"""batching.py: requests of many callers share runs as config.pbtxt says, and none has to do with another's fate."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path

import pytest
from support.held_engine import HeldEngine
from support.lookup_model import ENDLESS, ITEMS, lookup_items, write_lookup

from avizor_inference.arrays import Array
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.batching import BatchingEngine
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.errors import (
    DeadlineExceeded,
    EngineBusy,
    EngineError,
    EngineUnavailable,
    InvalidInput,
    ModelNotFound,
    UnknownOutput,
)
from avizor_inference.repository.models import ModelRepository

MINUTE_US = 60_000_000
Answers = Future[dict[str, Array]]


class Bench:
    """A batching engine around a held one around the real one, on the model `lookup`."""

    def __init__(self, folder: Path, fields: str) -> None:
        write_lookup(folder, fields)
        repository = ModelRepository(folder)
        self.held = HeldEngine(EmbeddedEngine(repository, device="cpu", many_callers=True))
        self.engine = BatchingEngine(self.held, repository)

    def ask(self, *indices: int, output: str = "probabilities", timeout_s: float | None = None, turns: int = 0) -> Answers:
        inputs = {"input": lookup_items(*indices, turns=turns)}
        return self.engine.submit(InferRequest("lookup", inputs, [output], timeout_s=timeout_s))

    def ask_light(self, *indices: int, output: str = "probabilities", turns: int = 0) -> list[float] | None:
        """Ask for one request of these rows."""
        found = self.share_light([indices], output=output, turns=turns)
        return None if found is None else found[0]

    def share_light(
        self, requests: Sequence[Sequence[int]], output: str = "probabilities", turns: int = 0, waited_s: float = 0.0
    ) -> list[list[float]] | None:
        """Ask for several requests, each of these rows, that share a run."""
        asked = [InferRequest("lookup", {"input": lookup_items(*indices, turns=turns)}, [output]) for indices in requests]
        answers = self.engine.infer_light(asked, waited_s)
        return None if answers is None else [answer[output][:, 0].tolist() for answer in answers]

    def make_light(self) -> None:
        """Run until a row is known to cost little. The first run of all takes longer."""
        for _ in range(100):
            if self.ask_light(3, 3, 3):
                return
            answer(self.ask(3))

    def rows(self) -> int:
        """Rows that wait or run."""
        return self.engine._batcher("lookup", None).rows

    def begin_a_run(self) -> Answers:
        """A run of one row (of index 0) that has begun and is held."""
        self.held.hold()
        future = self.ask(0)
        self.held.wait_for_run()
        return future


def answer(future: Answers, output: str = "probabilities") -> list[float]:
    values: list[float] = future.result(timeout=30)[output][:, 0].tolist()
    return values


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[[str], Bench]]:
    with contextlib.ExitStack() as stack:

        def opened(fields: str = "dynamic_batching { }") -> Bench:
            made = Bench(tmp_path, fields)
            stack.callback(made.engine.close)
            stack.callback(made.held.let_go)
            return made

        yield opened


def test_many_threads_get_their_own_answers_in_shared_runs(bench: Callable[..., Bench]) -> None:
    tested = bench("dynamic_batching { max_queue_delay_microseconds: 2000 }")
    wrong: list[int] = []

    def ask(number: int) -> None:
        for turn in range(20):
            indices = [(number * 7 + turn + row) % ITEMS for row in range(1 + number % 3)]
            if answer(tested.ask(*indices)) != indices:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sum(tested.held.sizes) == 20 * sum(1 + number % 3 for number in range(12))
    assert max(tested.held.sizes) > 3  # no request alone has more


def test_what_waits_runs_together_and_what_was_alone_did_not_wait(bench: Callable[..., Bench]) -> None:
    tested = bench(f"dynamic_batching {{ max_queue_delay_microseconds: {MINUTE_US} preferred_batch_size: [ 7 ] }}")
    first = tested.begin_a_run()
    others = [tested.ask(index) for index in range(1, 8)]
    tested.held.let_go()
    assert [answer(future) for future in (first, *others)] == [[index] for index in range(8)]
    assert tested.held.sizes == [1, 7]


def test_a_run_has_whole_requests_up_to_the_largest_batch(bench: Callable[..., Bench]) -> None:
    tested = bench()
    tested.begin_a_run()
    futures = [tested.ask(*range(rows)) for rows in (3, 3, 3, 8, 1)]
    tested.held.let_go()
    assert [answer(future) for future in futures] == [list(range(rows)) for rows in (3, 3, 3, 8, 1)]
    assert tested.held.sizes == [1, 6, 3, 8, 1]


def test_a_batch_of_a_preferred_size_runs_at_once(bench: Callable[..., Bench]) -> None:
    tested = bench("dynamic_batching { preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 1000 }")
    tested.begin_a_run()
    futures = [tested.ask(index) for index in range(7)]
    tested.held.let_go()
    wait(futures, 30)
    assert tested.held.sizes == [1, 4, 2, 1]


def test_a_batch_waits_for_others_while_a_run_goes_on(bench: Callable[..., Bench]) -> None:
    fields = f"dynamic_batching {{ max_queue_delay_microseconds: {MINUTE_US} preferred_batch_size: [ 2 ] }}"
    tested = bench(fields + "instance_group [ { kind: KIND_CPU count: 2 } ]")
    tested.begin_a_run()
    second = tested.ask(2)
    third = tested.ask(3)
    tested.held.wait_for_run()
    tested.held.let_go()
    assert (answer(second), answer(third)) == ([2], [3])
    assert tested.held.sizes == [1, 2]


def test_free_threads_share_what_waits_if_it_is_much_work(bench: Callable[..., Bench]) -> None:
    fields = f"dynamic_batching {{ max_queue_delay_microseconds: {MINUTE_US} }}"
    tested = bench(fields + "instance_group [ { kind: KIND_CPU count: 3 } ]")
    answer(tested.ask(0, turns=50_000))  # so it knows what a row costs
    tested.held.wait_for_run()
    tested.begin_a_run()
    futures = [tested.ask(*range(rows)) for rows in (1, 1, 1, 1, 1, 3)]
    for _ in range(2):
        tested.held.wait_for_run()
    tested.held.let_go()
    assert [answer(future) for future in futures] == [[0]] * 5 + [[0, 1, 2]]
    assert tested.held.sizes == [1, 1, 4, 4]


def test_without_dynamic_batching_each_request_has_its_own_run(bench: Callable[..., Bench]) -> None:
    tested = bench("")
    tested.begin_a_run()
    futures = [tested.ask(index) for index in range(5)]
    tested.held.let_go()
    assert [answer(future) for future in futures] == [[index] for index in range(5)]
    assert tested.held.sizes == [1] * 6


def test_a_run_is_for_one_set_of_outputs(bench: Callable[..., Bench]) -> None:
    tested = bench()
    tested.begin_a_run()
    futures = [
        (tested.ask(index, output=output), index, output) for index in (1, 2) for output in ("probabilities", "embedding")
    ]
    tested.held.let_go()
    for future, index, output in futures:
        assert list(future.result(timeout=30)) == [output]
        assert answer(future, output) == [index * (10 if output == "embedding" else 1)]
    assert tested.held.sizes == [1, 2, 2]


def test_a_wrong_request_raises_at_once_and_is_not_queued(bench: Callable[..., Bench]) -> None:
    tested = bench()
    with pytest.raises(UnknownOutput):
        tested.ask(1, output="score")
    with pytest.raises(InvalidInput):
        tested.engine.submit(InferRequest("lookup", {"input": lookup_items(1).astype("float32")}, ["probabilities"]))
    with pytest.raises(ModelNotFound):
        tested.engine.submit(InferRequest("nothing", {"input": lookup_items(1)}, ["probabilities"]))
    assert tested.rows() == 0


def test_a_request_that_fails_in_the_run_does_not_fail_the_others(bench: Callable[..., Bench]) -> None:
    tested = bench()
    tested.begin_a_run()
    good, bad, also_good = tested.ask(1), tested.ask(ITEMS + 5), tested.ask(2)
    tested.held.let_go()
    assert (answer(good), answer(also_good)) == ([1], [2])
    with pytest.raises(EngineError, match="ONNX Runtime failed at model 'lookup'"):
        bad.result(timeout=30)
    assert tested.held.sizes == [1, 3, 1, 1, 1]


def test_a_full_queue_refuses_and_one_that_is_cancelled_makes_room(bench: Callable[..., Bench]) -> None:
    tested = bench("dynamic_batching { default_queue_policy { max_queue_size: 2 } }")
    tested.begin_a_run()
    first, second = tested.ask(1), tested.ask(2)
    with pytest.raises(EngineBusy, match="2 requests wait for model 'lookup', as many as max_queue_size"):
        tested.ask(3)
    assert first.cancel()
    third = tested.ask(3)
    tested.held.let_go()
    assert (answer(second), answer(third)) == ([2], [3])


def test_a_request_that_waited_too_long_is_refused_while_a_run_goes_on(bench: Callable[..., Bench]) -> None:
    tested = bench("dynamic_batching { default_queue_policy { default_timeout_microseconds: 500000 } }")
    running = tested.begin_a_run()
    with pytest.raises(EngineBusy, match=r"longer than default_timeout_microseconds in its config\.pbtxt \(500000\)"):
        tested.ask(1).result(timeout=30)
    tested.held.let_go()
    assert answer(running) == [0]  # it began in time
    assert tested.held.sizes == [1]


def test_a_cancelled_request_leaves_the_queue_and_a_running_one_stays(bench: Callable[..., Bench]) -> None:
    tested = bench()
    running = tested.begin_a_run()
    futures = [tested.ask(index, index, timeout_s=60) for index in range(4)]
    assert tested.rows() == 9
    assert futures[1].cancel()
    assert futures[2].cancel()
    assert not running.cancel()
    assert tested.rows() == 5
    tested.held.let_go()
    assert [answer(futures[0]), answer(futures[3]), answer(running)] == [[0, 0], [3, 3], [0]]
    with pytest.raises(CancelledError):
        futures[1].result()
    assert not wait(futures, 30).not_done
    assert tested.held.sizes == [1, 4]
    assert tested.rows() == 0


def test_a_request_whose_deadline_passes_in_the_queue_is_not_run(bench: Callable[..., Bench]) -> None:
    tested = bench()
    tested.begin_a_run()
    late, patient = tested.ask(1, timeout_s=0.05), tested.ask(2, timeout_s=60)
    with pytest.raises(DeadlineExceeded, match=r"0\.05 s passed before model 'lookup' started"):
        late.result(timeout=30)
    tested.held.let_go()
    assert answer(patient) == [2]
    assert tested.held.sizes == [1, 1]


def test_a_deadline_that_passes_in_a_run_ends_the_run_only_if_it_is_the_last(bench: Callable[..., Bench]) -> None:
    tested = bench()
    tested.begin_a_run()
    hasty, patient = tested.ask(1, timeout_s=1), tested.ask(2, timeout_s=60)
    tested.held.let_one_go()
    tested.held.wait_for_run()
    with pytest.raises(DeadlineExceeded, match="did not answer"):
        hasty.result(timeout=30)
    assert not patient.done()
    tested.held.let_go()
    assert answer(patient) == [2]
    given = tested.held.runs[-1].timeout_s
    assert given is not None
    assert 30 < given <= 60


def test_a_run_without_end_is_ended_by_the_last_deadline(bench: Callable[..., Bench]) -> None:
    tested = bench()
    for futures in ([tested.ask(1, turns=ENDLESS, timeout_s=0.1)], [tested.ask(2, turns=ENDLESS, timeout_s=0.2)]):
        for future in futures:
            with pytest.raises(DeadlineExceeded):
                future.result(timeout=30)
    assert answer(tested.ask(3)) == [3]


def test_closing_fails_what_waits_answers_what_runs_and_leaves_no_thread(bench: Callable[..., Bench]) -> None:
    before = set(threading.enumerate())
    tested = bench()
    running = tested.begin_a_run()
    waiting = [tested.ask(index, timeout_s=60) for index in range(3)]
    closing = threading.Thread(target=tested.engine.close)
    closing.start()
    for future in waiting:
        with pytest.raises(EngineUnavailable):
            future.result(timeout=30)
    assert not tested.engine.ready()
    tested.held.let_go()
    closing.join(30)
    assert answer(running) == [0]
    assert set(threading.enumerate()) <= before
    with pytest.raises(EngineUnavailable):
        tested.ask(1)


def test_chunks_that_wait_are_cancelled_when_one_fails(bench: Callable[..., Bench]) -> None:
    tested = bench()
    tested.held.hold()
    tested.held.let_one_go()
    inputs = {"input": lookup_items(*range(ITEMS, ITEMS + 32))}
    with pytest.raises(EngineError):
        infer_rows(tested.engine, InferRequest("lookup", inputs, ["probabilities"]))
    assert tested.rows() <= 8  # the second of four chunks may have begun


def test_threads_begin_with_the_first_request(bench: Callable[..., Bench]) -> None:
    before = threading.active_count()
    tested = bench()
    tested.engine.spec("lookup")
    assert threading.active_count() == before
    assert answer(tested.ask(1)) == [1]
    assert threading.active_count() == before + 1


def test_nothing_of_a_request_is_kept_once_it_is_answered(bench: Callable[..., Bench]) -> None:
    """Not by the thread that ran it, which may wait for hours until the next one."""
    tested, items = bench(), lookup_items(1, 2)
    kept = weakref.ref(items)
    request = tested.engine.submit(InferRequest("lookup", {"input": items}, ["probabilities"]))
    assert answer(request) == [1, 2]
    del items, request
    tested.held.runs.clear()
    end = time.monotonic() + 60
    while kept() is not None and time.monotonic() < end:  # the thread is about to wait
        time.sleep(0.01)
    assert kept() is None


def test_what_is_light_runs_in_the_thread_of_its_caller(bench: Callable[..., Bench]) -> None:
    tested = bench()
    assert tested.ask_light(3) is None  # what a row costs is not known
    for items, output, expected in (((4, 5), "probabilities", [4, 5]), ((4,), "embedding", [40])):
        for _ in range(100):  # a run that others hold up for milliseconds makes its model one that is to be measured again
            tested.make_light()
            runs = len(tested.held.runs)
            if found := tested.ask_light(*items, output=output):
                break
        assert found == expected
        assert tested.held.threads[runs:] == [threading.current_thread()]
        assert tested.held.sizes[runs:] == [len(items)]
    assert tested.rows() == 0


def test_light_requests_share_a_run_in_the_thread_of_their_caller(bench: Callable[..., Bench]) -> None:
    tested = bench()

    def is_shared() -> bool:
        tested.make_light()
        tested.held.runs.clear()
        tested.held.threads.clear()
        return tested.share_light([[1], [2, 3], [4]]) == [[1], [2, 3], [4]]

    assert any(is_shared() for _ in range(100))  # not after a run that others held up for milliseconds
    assert tested.held.sizes == [4]
    assert tested.held.threads == [threading.current_thread()]
    assert tested.rows() == 0


def test_a_shared_light_run_counts_each_request_and_what_it_waited(bench: Callable[..., Bench]) -> None:
    tested = bench()

    def counted() -> tuple[int, int, int]:
        (found,) = tested.engine.statistics("lookup")
        return found.execution_count, found.inference_stats.success.count, found.inference_stats.queue.ns

    def adds() -> list[float]:
        tested.make_light()
        before = counted()
        if tested.share_light([[1], [2, 3], [4]], waited_s=50.0) is None:
            return []
        return [after - earlier for after, earlier in zip(counted(), before, strict=True)]

    found = next(filter(None, (adds() for _ in range(100))))
    assert found == [1, 3, pytest.approx(50e9, rel=1e-6)]


def test_one_that_was_cancelled_while_it_waited_for_a_light_run_is_counted(bench: Callable[..., Bench]) -> None:
    tested = bench()
    request = InferRequest("lookup", {"input": lookup_items(1)}, ["probabilities"])
    tested.engine.cancelled_light(request, 0.5)  # nobody has used the version: there is nothing to count in
    tested.engine.spec("lookup")
    tested.engine.cancelled_light(request, 2.0)
    (found,) = tested.engine.statistics("lookup")
    assert (found.response_stats["0"].cancel.count, found.response_stats["0"].cancel.ns) == (1, 2_000_000_000)


def test_light_requests_that_cannot_share_a_run_are_refused_together(bench: Callable[..., Bench]) -> None:
    tested = bench()
    good = lookup_items(1)
    for others in (lookup_items(ITEMS), lookup_items(*range(8)), good.astype("int32"), good[0], good[:0]):
        tested.make_light()
        asked = [InferRequest("lookup", {"input": items}, ["probabilities"]) for items in (good, others)]
        assert tested.engine.infer_light(asked) is None


def test_all_requests_of_a_light_run_are_light_together(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    tested = bench()

    def two_are_light() -> bool:
        tested.make_light()
        row_s = tested.engine._batcher("lookup", None)._row_s
        monkeypatch.setattr("avizor_inference.engines.model_batcher.SHARED_LIGHT_S", 2.5 * row_s)
        assert tested.share_light([[1], [2], [3]]) is None
        return tested.share_light([[1], [2]]) == [[1], [2]]

    assert any(two_are_light() for _ in range(100))  # not after a run that others held up for milliseconds


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("dynamic_batching { max_queue_delay_microseconds: 500 }", True),
        ("dynamic_batching { max_queue_delay_microseconds: 0 }", False),
        ("dynamic_batching { }", False),
        ("", False),
    ],
)
def test_light_requests_wait_for_each_other_where_requests_may_wait(
    bench: Callable[..., Bench], fields: str, expected: bool
) -> None:
    tested = bench(fields)
    assert not tested.engine.shares_light_runs("lookup")  # nobody has used it
    tested.engine.spec("lookup")
    assert tested.engine.shares_light_runs("lookup") is expected


def test_nothing_is_light_while_others_run_or_wait(bench: Callable[..., Bench]) -> None:
    tested = bench()
    tested.make_light()
    first = tested.begin_a_run()
    assert tested.ask_light(4) is None
    tested.held.let_go()
    assert answer(first) == [0]


def test_what_is_asked_for_during_a_light_run_is_answered(bench: Callable[..., Bench]) -> None:
    tested = bench("dynamic_batching { } parameters { key: 'intra_op_thread_count' value: { string_value: '64' } }")
    tested.make_light()
    tested.held.hold()
    light = threading.Thread(target=tested.ask_light, args=(1,))
    light.start()
    tested.held.wait_for_run()
    futures = [tested.ask(index, timeout_s=30) for index in range(4)]
    tested.held.let_go()
    assert [answer(future) for future in futures] == [[0], [1], [2], [3]]
    light.join()
    assert tested.rows() == 0


def test_what_takes_long_is_not_light(bench: Callable[..., Bench]) -> None:
    tested = bench()
    answer(tested.ask(0, turns=50_000))
    assert tested.ask_light(1) is None
    assert tested.held.sizes == [1]


def test_a_light_run_that_takes_too_long_or_fails_is_left_to_a_thread(bench: Callable[..., Bench]) -> None:
    tested = bench()

    def is_light_after_a_failure() -> bool:
        tested.make_light()
        assert tested.ask_light(ITEMS) is None  # it fails
        return tested.ask_light(1) == [1]

    # A run that others hold up for milliseconds makes its model one that is to be measured again: then once more.
    assert any(is_light_after_a_failure() for _ in range(100))
    assert tested.ask_light(1, turns=ENDLESS) is None
    assert tested.rows() == 0
    assert tested.ask_light(1) is None  # such a model is not light


def test_without_dynamic_batching_and_once_closed_nothing_is_light(bench: Callable[..., Bench]) -> None:
    tested = bench("")
    for _ in range(20):
        assert answer(tested.ask(3)) == [3]
        assert tested.ask_light(1) is None
    tested.engine.close()
    assert tested.ask_light(1) is None


def test_open_engine_batches_for_the_embedded_engine_only(models: Path) -> None:
    repository = ModelRepository(models)
    with open_engine("ort", repository, device="cpu", batching=True) as engine:
        assert isinstance(engine, BatchingEngine)
    with open_engine("triton://127.0.0.1:1", repository, batching=True) as engine:
        assert not isinstance(engine, BatchingEngine)


def test_closing_ends_a_run_without_end(bench: Callable[..., Bench]) -> None:
    tested = bench()
    running = tested.ask(1, turns=ENDLESS)
    tested.held.wait_for_run()
    tested.engine.close()
    with pytest.raises(EngineUnavailable, match="the engine was closed while model 'lookup' ran"):
        running.result(timeout=30)


def test_statistics_count_what_ran_what_failed_and_what_was_cancelled(bench: Callable[..., Bench]) -> None:
    tested = bench("dynamic_batching { default_queue_policy { max_queue_size: 4 } }")
    assert tested.engine.statistics() == []
    first = tested.begin_a_run()
    others = [tested.ask(1), tested.ask(2, 3), tested.ask(4, timeout_s=0.05), tested.ask(5)]
    with pytest.raises(EngineBusy):
        tested.ask(6)
    assert others[3].cancel()
    with pytest.raises(DeadlineExceeded):
        answer(others[2])
    tested.held.let_go()
    assert [answer(future) for future in (first, *others[:2])] == [[0], [1], [2, 3]]
    tested.make_light()
    before = len(tested.held.sizes) - 2
    (counts,) = tested.engine.statistics("lookup", 1)
    stats = counts.inference_stats
    assert (counts.name, counts.version) == ("lookup", "1")
    assert (counts.inference_count, counts.execution_count) == (sum(tested.held.sizes), len(tested.held.sizes))
    assert (stats.success.count, stats.fail.count, counts.response_stats["0"].cancel.count) == (3 + before, 2, 1)
    assert stats.queue.count == stats.compute_infer.count == 3 + before
    assert stats.compute_infer.ns > 0
    assert stats.success.ns >= stats.queue.ns + stats.compute_input.ns + stats.compute_infer.ns
    assert {batch.batch_size: batch.compute_infer.count for batch in counts.batch_stats} == dict(Counter(tested.held.sizes))
    assert tested.engine.statistics("lookup", 2) == tested.engine.statistics("another") == []
    assert tested.engine.statistics() == [counts]

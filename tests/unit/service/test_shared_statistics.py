"""Statistics of what the engines of several workers ran."""

from __future__ import annotations

from pathlib import Path

from avizor_service.workers.shared_statistics import SharedStatistics


def test_runs_of_all_workers_are_added_up_for_each_version_and_size(tmp_path: Path) -> None:
    first, second = (SharedStatistics(tmp_path, worker) for worker in (1, 2))
    first.of("lenet", 1).ran(4, requests=2, queue_s=0.5, input_s=0.1, infer_s=1.0, output_s=0.2)
    second.of("lenet", 1).ran(4, requests=4, queue_s=0.25, input_s=0.1, infer_s=2.0, output_s=0.2)
    second.of("lenet", 1).ran(1, requests=1, queue_s=0.0, input_s=0.0, infer_s=0.5, output_s=0.0)
    second.of("lenet", 2).ran(8, requests=1, queue_s=0.0, input_s=0.0, infer_s=1.0, output_s=0.0)
    first.of("lenet", 1).succeeded(1.0)
    second.of("lenet", 1).failed()
    second.of("lenet", 1).cancelled(0.5)
    assert [(each.name, each.version) for each in first.messages()] == [("lenet", "1"), ("lenet", "2")]
    for statistics in (first, second):
        (lenet,) = statistics.messages("lenet", 1)
        assert (lenet.inference_count, lenet.execution_count) == (4 + 4 + 1, 3)
        stats = lenet.inference_stats
        assert (stats.success.count, stats.fail.count, lenet.response_stats["0"].cancel.count) == (1, 1, 1)
        assert (stats.queue.count, stats.queue.ns) == (2 + 4 + 1, 750_000_000)
        assert stats.compute_infer.ns == 1e9 * (2 * 1.0 + 4 * 2.0 + 0.5)
        sizes = [(batch.batch_size, batch.compute_infer.count, batch.compute_infer.ns) for batch in lenet.batch_stats]
        assert sizes == [(1, 1, 0.5e9), (4, 2, 3e9)]


def test_a_worker_that_takes_the_place_of_another_goes_on_counting(tmp_path: Path) -> None:
    SharedStatistics(tmp_path, 1).of("lenet", 1).succeeded(1.0)
    later = SharedStatistics(tmp_path, 1)
    later.of("lenet", 1).succeeded(2.0)
    (lenet,) = later.messages()
    assert (lenet.inference_stats.success.count, lenet.inference_stats.success.ns) == (2, 3e9)


def test_the_last_run_is_that_of_any_worker(tmp_path: Path) -> None:
    first, second = (SharedStatistics(tmp_path, worker) for worker in (1, 2))
    first.of("lenet", 1).ran(1, 1, 0.0, 0.0, 0.0, 0.0)
    (before,) = second.messages()
    second.of("lenet", 1).ran(1, 1, 0.0, 0.0, 0.0, 0.0)
    (after,) = first.messages()
    assert 1e12 < before.last_inference <= after.last_inference < 1.5 * before.last_inference  # ms; and not their sum

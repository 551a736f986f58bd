"""tuning/: `avizor tune`: which candidates are measured, which one is chosen, and how the trade-off is shown."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.triton_config.settings import ServingSettings
from avizor_export.tuning import search_space
from avizor_export.tuning.candidates import Candidate, Measured, Round, candidate_table, choose
from avizor_export.tuning.load_generator import run_load
from avizor_export.tuning.measure import with_candidate
from avizor_export.tuning.plot import check_picture, plot
from avizor_export.tuning.search_space import SearchSpace, embedded_groups, triton_groups
from avizor_inference.errors import ExportError
from avizor_inference.repository.triton_config import parse_config


def measured(batch: int, rate: float, p99_ms: float, calls: int = 500) -> Measured:
    rounds = (Round(rate * 0.9, p99_ms * 1.5, calls), Round(rate, p99_ms, calls), Round(rate * 1.1, p99_ms * 0.5, calls))
    return Measured(Candidate(instances=1, threads=1, batch=batch, clients=1), rounds)


POINTS = [measured(1, 100, 1.0), measured(8, 960, 2.0), measured(16, 1000, 8.0), measured(32, 940, 1.5)]


def test_without_a_limit_latency_decides_among_the_fastest() -> None:
    choice = choose(POINTS, None)
    assert choice.chosen.candidate.batch == 8
    assert choice.reason == "the lowest p99 of the 2 candidates within 5% of the best, 1000 rows/s"
    assert choose([POINTS[0], POINTS[2]], None).reason == "the best throughput, and no other candidate within 5% of it"


def test_with_a_limit_throughput_decides_among_those_within_it() -> None:
    choice = choose(POINTS, 1.5)
    assert choice.chosen.candidate.batch == 32
    assert choice.reason == "the highest throughput with a p99 within 1.5 ms (2 of 4 candidates are)"
    assert choose(POINTS, 100).chosen.candidate.batch == 16


def test_a_limit_that_no_point_keeps() -> None:
    with pytest.raises(
        ExportError, match=r"no candidate has a p99 within 0\.5 ms; the lowest is 1\.00 ms \(instances 1, threads 1, batch 1"
    ):
        choose(POINTS, 0.5)


def test_the_table_marks_the_choice_and_shows_the_spread() -> None:
    lines = list(candidate_table(POINTS, POINTS[1]))
    assert [line[0] for line in lines] == [" ", " ", "*", " ", " "]
    assert "960 (864-1056)" in lines[2]
    assert "2.00 (1.00-3.00)" in lines[2]
    assert len({len(line) for line in lines}) == 1
    assert "p99 of a round of fewer than 100 calls" in list(candidate_table([measured(1, 10, 1, calls=99)], POINTS[0]))[-1]
    on_triton = Measured(Candidate(2, 0, 1, clients=8, queue_delay_us=500), POINTS[0].rounds)
    assert list(candidate_table([on_triton], on_triton))[1].split()[:6] == ["*", "2", "auto", "500", "none", "8"]
    preferring = Measured(Candidate(2, 0, 1, clients=8, queue_delay_us=500, preferred=(4, 8)), POINTS[0].rounds)
    assert list(candidate_table([preferring], preferring))[1].split()[4:7] == ["4", "8", "8"]


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    check_picture(tmp_path / "folder" / "tune.png")
    plot(tmp_path / "folder" / "tune.png", "a model", POINTS, POINTS[1], 3.0)
    assert (tmp_path / "folder" / "tune.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ExportError, match=r"gone/tune\.png: the plot cannot be written"):
        plot(tmp_path / "gone" / "tune.png", "a model", POINTS, POINTS[1], None)


def test_embedded_points_fit_the_cores_and_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_space, "usable_cores", lambda: 4)
    groups = embedded_groups(SearchSpace(), ServingSettings(max_batch_size=16), ["ort"])
    assert [{candidate.threads for candidate in group} for group in groups] == [{1}, {2}, {4}]
    assert {candidate.batch for group in groups for candidate in group} == {1, 8, 16}
    assert all(candidate.instances * candidate.threads <= 4 for group in groups for candidate in group)
    assert {candidate.instances for candidate in groups[0]} == {1, 2, 4}
    with pytest.raises(ExportError, match="fit the 4 cores"):
        embedded_groups(SearchSpace(threads=(8,)), ServingSettings(), ["ort"])
    with pytest.raises(ExportError, match="batch 32 is over the model's max_batch_size 16"):
        embedded_groups(SearchSpace(batch=(8, 32)), ServingSettings(max_batch_size=16), ["ort"])
    with pytest.raises(ExportError, match="at least one row"):
        embedded_groups(SearchSpace(batch=(0, 32)), ServingSettings(), ["ort"])
    with pytest.raises(ExportError, match="are for a Triton"):
        embedded_groups(SearchSpace(clients=(4,)), ServingSettings(), ["ort"])
    several = embedded_groups(SearchSpace(threads=(1, 2)), ServingSettings(), ["ort", "openvino"])
    assert [(group[0].engine, group[0].threads) for group in several] == [
        ("ort", 1),
        ("ort", 2),
        ("openvino", 1),
        ("openvino", 2),
    ]


def test_cpu_threads_are_not_tried_where_a_gpu_runs_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_space, "usable_cores", lambda: 4)
    groups = embedded_groups(SearchSpace(), ServingSettings(), ["ort", "openvino"], on_gpu=["ort"])
    assert [(group[0].engine, group[0].threads) for group in groups] == [
        ("ort", 0),
        ("openvino", 1),
        ("openvino", 2),
        ("openvino", 4),
    ]
    assert {candidate.instances for candidate in groups[0]} == {1, 2, 4}
    asked = embedded_groups(SearchSpace(threads=(1, 2)), ServingSettings(), ["ort"], on_gpu=["ort"])
    assert [group[0].threads for group in asked] == [1, 2]


def test_triton_points_keep_what_was_not_asked_for() -> None:
    now = ServingSettings(preferred_batch_sizes=(4, 8), intra_op_threads=3)
    groups = triton_groups(SearchSpace(queue_delay_us=(0, 100), clients=(2, 4)), now)
    assert [[candidate.clients for candidate in group] for group in groups] == [[2, 4]] * 8
    assert {(candidate.threads, candidate.preferred, candidate.batch) for group in groups for candidate in group} == {
        (3, (4, 8), 1),
        (1, (4, 8), 1),
    }
    assert {(group[0].instances, group[0].queue_delay_us) for group in groups} == {(1, 0), (1, 100), (2, 0), (2, 100)}


@pytest.mark.parametrize(
    ("settings", "threads"),
    [
        (ServingSettings(), [0, 1]),
        (ServingSettings(target="cpu", intra_op_threads=4), [4, 1]),
        (ServingSettings(intra_op_threads=1), [1]),
        (ServingSettings(target="gpu"), [0]),
        (ServingSettings(target="tensorrt"), [0]),
    ],
)
def test_one_thread_is_tried_on_a_triton_that_may_run_a_model_on_a_cpu(settings: ServingSettings, threads: list[int]) -> None:
    groups = triton_groups(SearchSpace(instances=(1,), queue_delay_us=(0,), clients=(1,)), settings)
    assert [group[0].threads for group in groups] == threads


def test_preferred_sizes_that_are_given_are_tried_one_by_one() -> None:
    groups = triton_groups(
        SearchSpace(batch=(0, 8, 16), instances=(1,), threads=(1,), queue_delay_us=(0,)),
        ServingSettings(preferred_batch_sizes=(4,)),
    )
    assert [group[0].preferred for group in groups] == [(), (8,), (16,)]


def test_a_point_leaves_alone_what_was_not_measured() -> None:
    shapes = "image:4x32x32x1"
    config = parse_config(
        f"""max_batch_size: 16
        dynamic_batching {{ preferred_batch_size: [ 8, 4 ] }}
        optimization {{ execution_accelerators {{ gpu_execution_accelerator [ {{
          name: "tensorrt" parameters {{ key: "trt_profile_opt_shapes", value: "{shapes}" }} }} ] }} }}""",
        "the test",
    )
    asked = with_candidate(config, Candidate(2, 0, 1, clients=8, queue_delay_us=500, preferred=(4, 8)))
    assert list(asked.dynamic_batching.preferred_batch_size) == [8, 4]
    assert usual_shapes(asked) == shapes
    for preferred, size in (((2,), 2), ((), 16)):
        changed = with_candidate(config, Candidate(2, 0, 1, clients=8, queue_delay_us=500, preferred=preferred))
        assert tuple(changed.dynamic_batching.preferred_batch_size) == preferred
        assert usual_shapes(changed) == f"image:{size}x32x32x1"


def usual_shapes(config: ModelConfig) -> str:
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    return str(accelerator.parameters["trt_profile_opt_shapes"])


@pytest.mark.parametrize(
    ("groups", "counts"),
    [("", []), ("instance_group [ { kind: KIND_AUTO } ]", [0]), ("instance_group [ { kind: KIND_CPU, count: 3 } ]", [2])],
)
def test_calls_at_once_on_this_cpu_are_instances_of_a_model_for_the_cpu_alone(groups: str, counts: list[int]) -> None:
    config = parse_config(f"max_batch_size: 16 {groups}", "the test")
    changed = with_candidate(config, Candidate(2, 1, 8, clients=2))
    assert [group.count for group in changed.instance_group] == counts


def test_a_load_has_so_many_callers_at_once_and_counts_their_rows() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def call() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1

    result = run_load(call, clients=3, rows=8, seconds=0.1)
    assert most == 3
    assert result.calls >= 3
    assert result.p99_ms >= 2
    assert 0 < result.rows_per_s <= 3 * 8 / 0.002


def test_a_call_that_fails_ends_the_load_of_the_others_too() -> None:
    calls = iter(range(10**6))

    def call() -> None:
        time.sleep(0.001)
        if next(calls) == 20:
            raise ExportError("no")

    began = time.monotonic()
    with pytest.raises(ExportError, match="no"):
        run_load(call, clients=2, rows=1, seconds=30)
    assert time.monotonic() - began < 20


def test_a_call_that_fails_ends_the_load() -> None:
    def call() -> None:
        raise ExportError("no")

    with pytest.raises(ExportError, match="no"):
        run_load(call, clients=2, rows=1, seconds=0.1)

"""this_machine.py: what this process may use of its machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from avizor_export.triton_config.settings import ServingSettings
from avizor_export.tuning.search_space import SearchSpace, embedded_groups
from avizor_inference import this_machine
from avizor_inference.this_machine import available_memory, cores_of_limit, total_memory, usable_cores
from avizor_pipeline.runners.open_runner import RunnerOptions


def test_only_the_cores_that_this_process_may_use_are_counted() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("text", "cores"), [("200000 100000\n", 2), ("150000 100000\n", 2), ("10000 100000\n", 1)])
def test_the_cpu_limit_of_a_container_is_rounded_up(text: str, cores: int) -> None:
    assert cores_of_limit(text) == cores


def test_a_container_without_a_limit_has_none() -> None:
    with pytest.raises(ValueError, match="max"):
        cores_of_limit("max 100000\n")


def test_tuning_and_batch_jobs_keep_within_the_cpu_limit_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text("50000 100000\n", encoding="ascii")
    monkeypatch.setattr(this_machine, "_CPU_LIMIT", limit)
    groups = embedded_groups(SearchSpace(), ServingSettings(), ["ort"])
    assert {(candidate.instances, candidate.threads) for group in groups for candidate in group} == {(1, 1)}
    assert RunnerOptions().here.workers == 1


def test_what_is_free_is_a_part_of_what_there_is() -> None:
    assert 0 < available_memory() <= total_memory()

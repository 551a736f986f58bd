"""this_machine.py: what this process may use of its machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from avizor_export.triton_config.settings import ServingSettings
from avizor_export.tuning.search_space import SearchSpace, embedded_groups
from avizor_inference import control_groups
from avizor_inference.control_groups import core_limit, memory_left, memory_limit
from avizor_inference.this_machine import available_memory, total_memory, usable_cores
from avizor_pipeline.runners.open_runner import RunnerOptions


def test_only_the_cores_that_this_process_may_use_are_counted() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


GIB = 2**30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the files of control groups as the kernel shows them to a process. group, top: of the process, and of the mount."""

    def make(files: Mapping[str, str], group: str = "/", top: str = "/", version: int = 2) -> None:
        for name, text in files.items():
            (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "tree" / name).write_text(f"{text}\n")
        own, mount = (
            (f"0::{group}", "cgroup2 cgroup2 rw") if version == 2 else (f"4:cpu,memory:{group}", "cgroup cgroup rw,cpu,memory")
        )
        (tmp_path / "cgroup").write_text(f"9:name=systemd:/other\n{own}\n")
        (tmp_path / "mountinfo").write_text(
            "31 23 0:28 / / rw,relatime shared:1 - tmpfs tmpfs rw\n"
            "30 23 0:27 / /media/caf\udce9\\0401 rw - odd\n"  # a disk whose name is not in UTF-8
            f"32 31 0:29 / {tmp_path}/other rw,relatime - cgroup cgroup rw,name=systemd\n"
            f"33 31 0:30 {top} {tmp_path}/tree rw,relatime shared:2 master:1 - {mount}\n",
            errors="surrogateescape",
        )
        monkeypatch.setattr(control_groups, "_PROCESS", tmp_path)

    return make


@pytest.mark.parametrize(
    ("text", "cores"),
    [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", None), ("", None)],
)
def test_the_cpu_limit_of_a_container_is_rounded_up(groups: Callable[..., None], text: str, cores: int | None) -> None:
    groups({"cpu.max": text})
    assert core_limit() == cores


SLICES = {
    "cpu.max": "max 100000",
    "a.slice/cpu.max": "200000 100000",
    "a.slice/b.service/cpu.max": "400000 100000",
    "a.slice/other.service/cpu.max": "100000 100000",
    "memory.max": "max",
    "a.slice/memory.max": f"{2 * GIB}",
    "a.slice/memory.current": f"{2 * GIB}",
    "a.slice/memory.stat": f"anon {GIB}\nactive_file {GIB // 2}\ninactive_file {GIB // 4}",
    "a.slice/b.service/memory.max": f"{GIB}",
    "a.slice/b.service/memory.current": "4096",
    "a.slice/b.service/memory.stat": "active_file 0\ninactive_file 0",
    "a.slice/other.service/memory.max": "4096",
}


def test_of_groups_in_groups_the_smallest_limit_counts(groups: Callable[..., None]) -> None:
    groups(SLICES, "/a.slice/b.service")
    assert (core_limit(), memory_limit(), memory_left()) == (2, GIB, GIB * 3 // 4)
    groups({}, "/host/a.slice/b.service", top="/host")  # a container without a namespace of its own sees the names of its host
    assert (core_limit(), memory_limit()) == (2, GIB)
    groups({}, "/a.slice")
    assert (core_limit(), memory_limit()) == (2, 2 * GIB)
    for outside in ("/../b.service", "/elsewhere"):
        groups({}, outside)
        assert (core_limit(), memory_limit(), memory_left()) == (None, None, None)


def test_limits_of_version_1_count(groups: Callable[..., None]) -> None:
    files = {
        "cpu.cfs_quota_us": "-1",
        "cpu.cfs_period_us": "100000",
        "docker/id/cpu.cfs_quota_us": "250000",
        "docker/id/cpu.cfs_period_us": "100000",
        "docker/id/memory.limit_in_bytes": f"{GIB}",
        "docker/id/memory.usage_in_bytes": f"{GIB // 2}",
        "docker/id/memory.stat": "active_file 1\n"
        f"total_active_file {GIB // 8}\ninactive_file 2\ntotal_inactive_file {GIB // 8}",
    }
    groups(files, "/docker/id", version=1)
    assert (core_limit(), memory_limit(), memory_left()) == (3, GIB, GIB * 3 // 4)


def test_what_a_container_has_used_is_not_free(groups: Callable[..., None]) -> None:
    groups({"memory.max": "4096", "memory.current": "8192"})  # and no memory.stat, as where gVisor is the kernel
    assert (total_memory(), available_memory()) == (4096, 0)


def test_without_control_groups_there_are_no_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_groups, "_PROCESS", tmp_path / "missing")
    assert (core_limit(), memory_limit(), memory_left()) == (None, None, None)


IN_A_GROUP = """
from pathlib import Path
import sys
group = Path(sys.argv[1])
(group / "cgroup.procs").write_text("0")
from avizor_inference.this_machine import usable_cores
print(usable_cores())
"""


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """A control group of this machine whose processes may use half a core, and one in it."""
    version_1 = Path("/sys/fs/cgroup/cpu")
    outer = (version_1 if version_1.is_dir() else Path("/sys/fs/cgroup")) / f"avizor-test-{os.getpid()}"
    try:
        (outer / "inner").mkdir(parents=True)
        limit, text = ("cpu.cfs_quota_us", "50000") if version_1.is_dir() else ("cpu.max", "50000 100000")
        (outer / limit).write_text(text)
    except OSError as error:
        pytest.skip(f"this user may not set the limits of a group: {error}")
    else:
        yield outer / "inner"
    finally:
        for each in (outer / "inner", outer):
            with suppress(OSError):
                each.rmdir()


def test_the_limit_of_a_real_group_counts_for_those_inside_it(half_a_core: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-c", IN_A_GROUP, half_a_core], capture_output=True, text=True, timeout=60, check=True
    )
    assert printed.stdout == "1\n"


def test_tuning_and_batch_jobs_keep_within_the_cpu_limit_of_a_container(groups: Callable[..., None]) -> None:
    groups({"cpu.max": "50000 100000"})
    searched = embedded_groups(SearchSpace(), ServingSettings(), ["ort"])
    assert {(candidate.instances, candidate.threads) for group in searched for candidate in group} == {(1, 1)}
    assert RunnerOptions().here.workers == 1


def test_what_is_free_is_a_part_of_what_there_is() -> None:
    assert 0 < available_memory() <= total_memory()

"""memory_share.py and what it rests on: how many workers and rows fit, and which files are looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from unit.pipeline.jobs import entry

from avizor_inference.error_text import lacks_memory
from avizor_inference.errors import EngineError, MediaError
from avizor_inference.items.object_path import ObjectPath
from avizor_pipeline.cli.batch import batch
from avizor_pipeline.largest_files import LargestFiles
from avizor_pipeline.memory_probe import MORE, Needs
from avizor_pipeline.memory_share import MIB, _for_stores, fit, sizes_of
from avizor_pipeline.plan import Plan
from avizor_pipeline.process_memory import memory_use
from avizor_pipeline.sinks.row_groups import GROUP_BYTES, ROW_GROUP, rows_in_group

# 172 MiB for a worker with a row, 300 with 16, 556 with 32.
NEEDS = Needs(base=100 * MIB, rows={1: 0, 16: 128 * MIB, 32: 384 * MIB}, decoding={"a.png": 10 * MIB})


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (2 * 556, (32, 2)),
        (2 * 556 - 1, (16, 2)),  # fewer rows before fewer workers
        (2 * 300 - 1, (1, 2)),
        (2 * 172 - 1, (16, 1)),  # with one worker there is room for more rows
        (172, (1, 1)),
        (171, None),
    ],
)
def test_fewer_rows_in_a_batch_come_before_fewer_workers(there: int, expected: tuple[int, int] | None) -> None:
    assert fit(NEEDS, 2, there * MIB) == expected


def test_what_a_worker_fetches_from_a_store_and_sends_there_is_counted(tmp_path: Path) -> None:
    here = Plan(1, {}, largest=[entry("a.wav")])
    there = Plan(1, {}, largest=[entry("a.wav")._replace(file="s3:/bucket/a.wav")])
    place = ObjectPath.parse("s3://bucket/run")
    assert [_for_stores(out, plan) // MIB for out in (tmp_path, place) for plan in (here, there)] == [0, 64, 24, 88]


def test_threads_that_fetch_objects_begin_before_memory_is_limited() -> None:
    code = (
        "import os; from avizor_inference.items.object_files import begin_threads, store_threads; begin_threads();"
        "first = len(os.listdir('/proc/self/task')); [store_threads().submit(int) for _ in range(100)][-1].result();"
        "print(first >= 17, len(os.listdir('/proc/self/task')) - first)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True 0\n"


def test_a_file_that_fits_in_no_way_does_not_decide() -> None:
    large = Needs(base=NEEDS.base, rows=NEEDS.rows, decoding={"a.png": MORE, "b.png": 10 * MIB})
    assert fit(large, 2, 2 * 556 * MIB) == (32, 2)
    room = Needs(base=NEEDS.base, rows=NEEDS.rows, decoding={"a.png": 272 * MIB})  # 428 MiB with one row
    assert fit(room, 2, 600 * MIB) == (16, 1)


def test_batches_are_measured_from_small_to_large() -> None:
    assert [sizes_of(largest) for largest in (1, 2, 8, 12)] == [[1], [1, 2], [1, 2, 4, 8], [1, 2, 4, 8, 12]]


def test_the_largest_files_of_each_kind_are_kept() -> None:
    largest = LargestFiles()
    for size in (3, 9, 1, 7, 7, 8):
        largest.add(("image",), entry(f"{size}.png", size=size))
    largest.add(("audio",), entry("1.wav", size=1))
    assert [each.uri for each in largest.entries] == ["9.png", "8.png", "7.png", "1.wav"]


def test_rows_of_many_classes_and_numbers_are_written_sooner() -> None:
    assert rows_in_group(classes=0, numbers=0) == ROW_GROUP
    assert rows_in_group(classes=1000, numbers=0) * 1000 * 400 < GROUP_BYTES
    assert rows_in_group(classes=0, numbers=10_000_000) == 1


@pytest.mark.parametrize("size", ["2", "two GiB", "GiB", "-1GiB", "2GiBs", "9" * 400 + "TiB", ""])
def test_a_ceiling_is_a_size_with_a_unit(tmp_path: Path, size: str) -> None:
    arguments = [str(tmp_path), "--model", "kinds", "--out", str(tmp_path / "out"), f"--memory={size}"]
    result = CliRunner().invoke(batch, arguments)
    assert result.exit_code == 2
    assert f"{size!r} is not a size; write it like 2GiB or 1500MiB" in result.output


def test_a_ceiling_that_no_machine_has_is_refused(tmp_path: Path) -> None:
    arguments = [str(tmp_path), "--model", "kinds", "--out", str(tmp_path / "out"), "--memory=2000000TiB"]
    result = CliRunner().invoke(batch, arguments)
    assert result.exit_code == 2
    assert "'2000000TiB' is more than any machine has; write it like 2GiB or 1500MiB" in result.output


def test_a_lack_of_memory_is_known_however_it_is_wrapped() -> None:
    wrapped = MediaError("the image cannot be decoded (MemoryError: )")
    wrapped.__cause__ = MemoryError()
    assert lacks_memory(wrapped)
    assert lacks_memory(EngineError("ONNX Runtime failed at model 'a': std::bad_alloc"))
    assert lacks_memory(RuntimeError("can't start new thread"))
    assert not lacks_memory(MediaError("no sound"))


def test_memory_is_measured() -> None:
    before = memory_use()
    block = bytearray(64 * MIB)
    after = memory_use()
    assert after.own - before.own > 60 * MIB
    assert after.own_peak >= after.own
    del block

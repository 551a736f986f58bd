"""Settings, entries and shards for the unit tests of the batch job."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avizor_inference.items.dataset import Entry
from avizor_inference.job_results import ROWS_FORMAT
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.part_files import Commit, PartWriter


def settings(*roots: Path, **changes: Any) -> JobSettings:
    """Settings of a job without models."""
    return JobSettings(rows_format=ROWS_FORMAT, roots=tuple(map(str, roots)), repository="models", models=(), **changes)


def entry(name: str, source: str = "a", size: int = 1000, modified_ns: int = 1) -> Entry:
    return Entry(name, name, source, size, modified_ns)


def write_shard(out: Path, shard: str, windows: int = 3) -> Commit:
    """Commit a shard with this number of rows in `windows`."""
    writer = PartWriter(out, shard)
    for number in range(windows):
        writer.add("windows", {"uri": f"{number}.wav", "source": "a", "model": "normal"})
    commit = Commit(
        shard=shard, files=1, windows=windows, dead_letters=0, rows=writer.counts, sha256=writer.finish(), labels={}, sources={}
    )
    writer.commit(commit)
    return commit


@contextmanager
def holder(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds an output folder, and says so, until it is killed."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()

"""Kill a small batch job after each write, fsync, rename and removal that it makes, and resume it each time.

    python crash_points.py SCENARIO DATA MODELS FOLDER

Prints how many points of which kind there were, and every point after which the output was another one. All runs are forks of
this process, which has imported all that they need: so hundreds of points take minutes.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from avizor_inference.digests import sha256_of_file
from avizor_pipeline.cli.running import RunOptions, run_to_end
from avizor_pipeline.derived.wanted import WantedFiles
from avizor_pipeline.job_context import open_context
from avizor_pipeline.models import open_models
from avizor_pipeline.plan import plan_job, plan_retry
from avizor_pipeline.reporting.metrics import BatchMetrics
from avizor_pipeline.request import JobRequest
from avizor_pipeline.runners.base import Done
from avizor_pipeline.section_run import run_task
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.output_folder import begun_settings
from avizor_pipeline.verify import verify_job

# What changes the disk: where it is looked up, and its name.
CHANGES: tuple[tuple[Any, str], ...] = (
    *((os, name) for name in ("write", "pwrite", "ftruncate", "fsync", "replace", "rename", "unlink", "mkdir", "rmdir")),
    (shutil, "copyfileobj"),
    *((pq.ParquetWriter, name) for name in ("__init__", "write_table", "write_batch", "close")),
)


class HereRunner:
    """Processes shards in this process, with the code of a worker, each before the last one is committed."""

    workers_elsewhere = False

    def run(self, shards: Iterator[Shard], settings: JobSettings, out: OutputPath) -> Generator[Done, None, None]:
        context = open_context(settings, out)
        last: Callable[[], Done] | None = None
        for shard in shards:
            commit = run_task(context, shard)
            if last:
                yield last()
            last = commit
        if last:
            yield last()


def run(data: Path, models: Path, out: OutputPath, act: str) -> None:
    begun = begun_settings(out)
    if act == "retry":
        assert begun is not None
        settings, plan = begun, plan_retry(begun, out)
    else:
        settings = JobRequest((str(data),), ("kinds", "normal"), models, alpha=0.05, batch_size=8, shard_mib=1).to_settings(
            begun
        )
        plan = plan_job(settings, out, redo=act == "redo")
    options = RunOptions(out, HereRunner(), WantedFiles(), None, as_json=True)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        run_to_end(settings, open_models(settings), plan, options, BatchMetrics())


def kill_after(point: int, log: Path, changes: Sequence[tuple[Any, str]] = CHANGES) -> None:
    """Make this process end after so many changes of the disk, and write the name of each into the log before."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    write, made = os.write, itertools.count(1)  # of all threads together

    def wrapped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any, **named: Any) -> Any:
            result = call(*arguments, **named)
            number = next(made)
            write(descriptor, f"{name}\n".encode())
            if number == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return change

    for owner, name in changes:
        setattr(owner, name, wrapped(name, getattr(owner, name)))


def in_fork(act: Callable[[], None]) -> int:
    """Return the exit status of a fork that does this."""
    child = os.fork()
    if not child:
        status = 1
        try:
            act()
            status = 0
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def state(out: Path) -> dict[str, str]:
    """All that the output is: its tables, byte for byte, its rounds, and its summary without what a clock decides."""
    files = {str(path.relative_to(out)): sha256_of_file(path) for path in sorted(out.rglob("*.parquet"))}
    summary = json.loads((out / "summary.json").read_text())
    counts = {name: summary[name] for name in ("files", "windows", "dead_letters", "models")}
    left = sorted(path.name for path in out.rglob("*.tmp"))
    return files | {"summary": json.dumps(counts), "left": str(left), "job": (out / "job.json").read_text()}


def main(scenario: str, data: Path, models: Path, folder: Path) -> None:
    begun, whole, out, log = folder / "begun", folder / "whole", folder / "out", folder / "log"
    if scenario != "batch":  # the output of an earlier run, and what has changed since
        assert in_fork(lambda: run(data, models, begun, "batch")) == 0
        dead = [Path(uri) for part in (begun / "dead_letters").iterdir() for uri in pq.read_table(part)["uri"].to_pylist()]
        good = next(path for path in sorted(data.rglob("*.wav")) if path not in dead)
        for bad in dead:
            shutil.copyfile(good, bad)  # it is a dead letter no more
        if scenario == "redo":
            shutil.copyfile(good, good.with_name("zz.wav"))
            os.utime(good, ns=(1, 1))

    def reset(to: Path) -> None:
        shutil.rmtree(to, ignore_errors=True)
        if begun.exists():
            shutil.copytree(begun, to)

    def attempt(to: Path, point: int) -> int:
        def act() -> None:
            kill_after(point, log)
            run(data, models, to, scenario)

        return in_fork(act)

    reset(whole)
    assert attempt(whole, 0) == 0
    points, expected, wrong = log.read_text().split(), state(whole), []
    for point, name in enumerate(points, start=1):
        reset(out)
        killed = attempt(out, point)
        resumed = in_fork(lambda: run(data, models, out, scenario))
        if (killed, resumed) != (-signal.SIGKILL, 0) or state(out) != expected or verify_job(out).problem_count:
            wrong.append(f"{point} ({name}): {killed}, {resumed}")
    print(json.dumps({"points": Counter(points), "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))

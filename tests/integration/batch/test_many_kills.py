"""Two hundred SIGKILLs, of the job, of a worker, of both: whenever they come, the output is that of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from integration.jobs import AVIZOR, command, part_digests, workers

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("AVIZOR_TEST_KILLS", "200"))
VICTIMS = ("parent", "worker", "both")
SHIM = Path(__file__).parents[2] / "support" / "killed_before_commit"


def run(arguments: list[str], victim: str, once: Path | None) -> subprocess.Popen[str]:
    paths = [*([str(SHIM)] if once else []), os.environ.get("PYTHONPATH", "")]
    extra = {"AVIZOR_KILL": victim, "AVIZOR_KILL_ONCE": str(once), "PYTHONPATH": os.pathsep.join(paths)} if once else {}
    return subprocess.Popen(
        arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=os.environ | extra, start_new_session=True
    )


def kill(process: subprocess.Popen[str], victim: str) -> bool:
    """Kill what is to be killed; return whether there was anything."""
    if victim != "worker":
        process.kill() if victim == "parent" else os.killpg(process.pid, signal.SIGKILL)
        return True
    started = [each for each in workers(process) if "spawn_main" in " ".join(each.cmdline())]
    if started:
        random.choice(started).kill()
    return bool(started)


def test_two_hundred_kills_lose_and_double_nothing(
    many_recordings: Path, models: Path, whole_run: dict[str, str], tmp_path: Path
) -> None:
    random.seed(13)
    killed: Counter[str] = Counter()
    job = number = 0
    lasts = 3.0
    while sum(killed.values()) < KILLS or number:
        out = tmp_path / str(job)
        before_commit = sum(killed.values()) % 5 == 0
        victim, once = VICTIMS[sum(killed.values()) % 3], tmp_path / f"{job}-{number}" if before_commit else None
        process, began = run(command(many_recordings, models, out), victim, once), time.monotonic()
        number += 1
        if not before_commit and sum(killed.values()) < KILLS:
            time.sleep(random.uniform(0, lasts))
            try:
                if process.poll() is None and kill(process, victim):
                    killed[victim] += 1
            except (psutil.NoSuchProcess, ProcessLookupError):
                pass
        _, error = process.communicate(timeout=300)
        if once and once.exists():
            killed[f"{victim}, before a commit record"] += 1
        if process.returncode == 0:
            lasts = max(1.0, 0.8 * (time.monotonic() - began))
            assert part_digests(out) == whole_run, killed
            verified = subprocess.run([AVIZOR, "verify", out], capture_output=True, text=True, check=False)
            assert verified.returncode == 0, verified.stderr
            job, number = job + 1, 0
        else:
            assert process.returncode in (1, -signal.SIGKILL), error
    print(f"\n{sum(killed.values())} kills in {job} jobs: {dict(killed)}")
    assert sum(count for name, count in killed.items() if "before" in name) >= KILLS // 5
    assert {name.partition(",")[0] for name in killed} == set(VICTIMS)

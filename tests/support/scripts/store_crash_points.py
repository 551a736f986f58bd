"""Kill a small batch job after each request with which it changes an object store, and resume it each time.

    python store_crash_points.py DATA MODELS FOLDER BUCKET

The environment names the store. Prints how many requests of which kind there were, and every one after which the objects were
other ones: they must be those of an undisturbed job, byte for byte, which must be the files of the same job on a disk. Each run
is a fork, and only they reach the store with the library that the job uses: its threads do not survive a fork.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

from avizor_inference.items.object_path import ObjectPath
from avizor_pipeline.sinks.output_files import output_path
from avizor_pipeline.verify import verify_job
from support.scripts.crash_points import in_fork, kill_after, run
from support.stored_results import copy, digests, digests_on_disk, names

CHANGES = tuple((ObjectPath, name) for name in ("put", "put_file", "unlink", "remove_with_contents"))


def change(data: Path) -> None:
    """Change the dataset as between two runs: a new file, one that has changed, and dead letters that are good now."""
    good = next(path for path in sorted(data.rglob("*.wav")) if path.stat().st_size > 100)
    for bad in [path for path in sorted(data.rglob("*.wav")) if path.stat().st_size < 100]:
        shutil.copyfile(good, bad)
    shutil.copyfile(good, good.with_name("zz.wav"))
    os.utime(good, ns=(1, 1))


def verified(url: str) -> None:
    proof = verify_job(output_path(url))
    assert not proof.problem_count, proof.problems


def main(data: Path, models: Path, folder: Path, bucket: str) -> None:
    log, points, wrong = folder / "log", Counter[str](), list[str]()

    def attempt(act: str, url: str, point: int) -> int:
        def killed() -> None:
            kill_after(point, log, CHANGES)
            run(data, models, output_path(url), act)

        return in_fork(killed)

    def survive(act: str, begun: str) -> None:
        """Run one act again and again, from what is below the prefix `begun`."""
        whole, out = f"{act}-whole", f"{act}-out"
        assert in_fork(lambda: run(data, models, folder / "disk", act)) == 0
        copy(bucket, begun, whole)
        assert attempt(act, f"s3://{bucket}/{whole}", 0) == 0
        made, expected = log.read_text().split(), digests(bucket, whole)
        points.update(made)
        if expected != digests_on_disk(folder / "disk"):
            wrong.append(f"{act}: not as on a disk")
        for point, name in enumerate(made, start=1):
            copy(bucket, begun, out)
            url = f"s3://{bucket}/{out}"
            killed, resumed = attempt(act, url, point), attempt(act, url, 0)
            proven = in_fork(lambda: verified(url))  # noqa: B023 - it is called at once
            same = digests(bucket, out) == expected and "summary.json" in names(bucket, out)
            if (killed, resumed, proven, same) != (-signal.SIGKILL, 0, 0, True):
                wrong.append(f"{act}, {point} ({name}): {killed}, {resumed}, {proven}, {same}")

    survive("batch", "")
    change(data)
    survive("redo", "batch-whole")
    print(json.dumps({"points": points, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])

"""Measure the review page on a job of many recordings: how long a page takes, and whether memory grows with the job.

    python benchmarks/review.py [--rows 10000,100000] [--windows 5] [--embeddings 32]

Writes results of so many generated recordings, as a job would (a part for 256 of them), starts `avizor review` on them, asks
for pages. Prints the median of five requests, and the memory (RSS) of the server after them. `first` is the first page of a
server that has just started.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from avizor_inference.job_results import ROWS_FORMAT
from avizor_inference.job_tables import RECORDINGS, WINDOWS

PART = 256
SECONDS = 2.0
RATE = 8000
AVIZOR = Path(sys.executable).with_name("avizor")


def write_results(folder: Path, recordings: int, windows: int, embedding: int) -> None:
    """Write the tables of a finished job: p-values are uniform, so that a share of alpha is flagged."""
    rng = np.random.default_rng(0)
    for table in ("recordings", "windows", "commits"):
        (folder / table).mkdir(parents=True)
    for first in range(0, recordings, PART):
        count = min(PART, recordings - first)
        name = f"{first:016x}"
        uris = [
            f"sounds/machine{number % 20:02}/2026-01-{1 + number % 28:02}T{number:09}.wav"
            for number in range(first, first + count)
        ]
        sources = [uri.split("/")[1] for uri in uris]
        p_values = rng.uniform(0.0005, 1, count)
        columns = {
            "uri": uris,
            "source": sources,
            "model": ["machine"] * count,
            "windows": [windows] * count,
            "score": (1 / p_values).astype(np.float32),
            "p_value": p_values,
            "is_anomaly": p_values <= 0.01,
            "judged_by": sources,
        }
        _write(folder / "recordings" / f"{name}.parquet", columns, RECORDINGS)
        rows = count * windows
        starts = np.tile(np.arange(windows) * int(SECONDS * RATE), count)
        of_windows = {
            "uri": np.repeat(uris, windows),
            "source": np.repeat(sources, windows),
            "channel": np.zeros(rows, np.int16),
            "start_sample": starts,
            "end_sample": starts + int(SECONDS * RATE),
            "start_s": starts / RATE,
            "end_s": starts / RATE + SECONDS,
            "model": ["machine"] * rows,
            "score": rng.uniform(0, 1, rows).astype(np.float32),
            "p_value": np.repeat(p_values, windows),
            "is_anomaly": np.repeat(p_values <= 0.01, windows),
            **({"embedding": list(rng.normal(size=(rows, embedding)).astype(np.float32))} if embedding else {}),
        }
        _write(folder / "windows" / f"{name}.parquet", of_windows, WINDOWS)
        (folder / "commits" / f"{name}.json").write_text("{}")
    model = {"name": "machine", "version": 1, "sha256": "0", "calibration_id": "0" * 12}
    job = {"rows_format": ROWS_FORMAT, "roots": ["sounds"], "repository": "models", "models": [model], "alpha": 0.01}
    (folder / "job.json").write_text(json.dumps(job))
    (folder / "summary.json").write_text("{}")


def _write(path: Path, columns: dict[str, object], schema: pa.Schema) -> None:
    count = len(columns["uri"])  # type: ignore[arg-type]
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type) for field in schema
    ]
    pq.write_table(pa.table(arrays, schema=schema), path)


@contextmanager
def reviewing(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run `avizor review`; yield its address and its process."""
    command = [str(AVIZOR), "review", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        found = re.search(r"(https?://\S+/)", process.stdout.readline())
        assert found, "the server did not start"
        yield found[1], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def seconds_of(address: str) -> float:
    """Return how long a request takes."""
    begun = time.perf_counter()
    with urllib.request.urlopen(address) as answer:
        answer.read()
    return time.perf_counter() - begun


def measure(recordings: int, windows: int, embedding: int) -> None:
    """Print the line of a job of so many recordings."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "results"
        write_results(folder, recordings, windows, embedding)
        with reviewing(folder) as (address, process):
            first = seconds_of(address)
            item = urlencode({"uri": "sounds/machine00/2026-01-01T000000000.wav", "model": "machine"})
            pages = {
                "flagged": "?",
                "alpha 0.3": "?alpha=0.3",
                "uncertain": "?order=uncertain",
                "all, page 900": f"?shown=all&page={min(900, recordings // 60)}",
                "sample": "?sample=2000",
                "item": f"item?{item}",
                "nearest": f"nearest?{item}",
            }
            taken = {name: median(seconds_of(address + page) for _ in range(5)) for name, page in pages.items()}
            rss = process.memory_info().rss / 2**20
    cells = "".join(f" {seconds:.2f} |" for seconds in taken.values())
    print(f"| {recordings:,} | {first:.2f} |{cells} {rss:.0f} |", flush=True)


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1000,10000,100000")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--embeddings", type=int, default=0, metavar="DIMENSIONS")
    options = parser.parse_args()
    print("| recordings | first | flagged | alpha 0.3 | uncertain | all, page 900 | sample | item | nearest | RSS, MiB |")
    print("|---:|" + "---:|" * 9)
    for rows in map(int, options.rows.split(",")):
        measure(rows, options.windows, options.embeddings)


if __name__ == "__main__":
    main()

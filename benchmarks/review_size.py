"""Measure `avizor report` over generated jobs: seconds, peak memory, size of the page.

    python benchmarks/review_size.py --rows 100000 1000000

A job has 40 sources, one window and 32 numbers of embedding for each row, and p-values of calibrations of 999 items. Its files
are not there, so that no time goes into decoding: each item of the page says so. Seconds are the processor's, since other
programs may run beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avizor_inference.job_results import ROWS_FORMAT
from avizor_inference.job_tables import TABLES

_PART, _SOURCES, _N = 16_384, 40, 999


def generate(out: Path, rows: int, seed: int = 0) -> Path:
    """Write the tables of a job of so many recordings, of one window each."""
    rng = np.random.default_rng(seed)
    for name in (*TABLES, "commits"):
        (out / name).mkdir(parents=True)
    for part, start in enumerate(range(0, rows, _PART)):
        count = min(_PART, rows - start)
        places = np.arange(start, start + count)
        p_values = rng.integers(1, _N + 2, count) / (_N + 1)
        common = {
            "uri": [_name(int(place)) for place in places],
            "source": [f"site-{place % _SOURCES}" for place in places],
            "model": ["m"] * count,
            "score": rng.lognormal(-3, 0.5, count).astype(np.float32),
            "p_value": p_values,
            "is_anomaly": p_values <= 0.01,
        }
        window = {"channel": [0] * count, "start_sample": [0] * count, "end_sample": [8000] * count, "start_s": [0.0] * count}
        embeddings = list(rng.standard_normal((count, 32)).astype(np.float32))
        _write(out, "windows", part, common | window | {"end_s": [1.0] * count, "embedding": embeddings})
        _write(out, "recordings", part, common | {"windows": [1] * count})
        (out / "commits" / f"{part:016x}.json").write_text("{}")
    models = [{"name": "m", "version": 1, "sha256": "0", "calibration_id": "0" * 12}]
    job = {"rows_format": ROWS_FORMAT, "roots": ["/data"], "repository": "models", "models": models, "embeddings": True}
    (out / "job.json").write_text(json.dumps(job))
    (out / "summary.json").write_text("{}")
    return out


def _name(place: int) -> str:
    day, minute = f"2026{1 + place % 12:02d}{1 + place % 28:02d}", f"{place % 24:02d}{place % 60:02d}"
    return f"/data/site-{place % _SOURCES}/{day}_{minute}00-{place}.wav"


def _write(out: Path, name: str, part: int, columns: dict[str, object]) -> None:
    schema = TABLES[name]
    count = len(columns["uri"])  # type: ignore[arg-type]
    table = {field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in schema}
    pq.write_table(pa.table(table, schema=schema), out / name / f"{part:016x}.parquet", compression="zstd")


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000])
    print("| rows | seconds | peak memory, MiB | page, MiB |\n|---:|---:|---:|---:|")
    for rows in parser.parse_args().rows:
        with tempfile.TemporaryDirectory() as folder:
            out, page = generate(Path(folder) / "results", rows), Path(folder) / "report.html"
            code = (
                "import resource; from pathlib import Path; from avizor_review.report.write import write_report; "
                "from avizor_review import Results\n"
                f"with Results.open(Path({str(out)!r})) as results: write_report(results, Path({str(page)!r}))\n"
                "used = resource.getrusage(resource.RUSAGE_SELF)\n"
                "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)"
            )
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            seconds, peak = map(float, done.stdout.split())
            print(f"| {rows:,} | {seconds:.1f} | {peak:.0f} | {page.stat().st_size / 2**20:.2f} |", flush=True)


if __name__ == "__main__":
    main()

"""`make demo`: the main job from end to end on machine sounds, on this computer alone, in a few minutes.

Makes recordings of six machines, trains on normal sound only, exports, streams the test recordings through both models, and
shows what was flagged beside what was promised. Every step is a command that you could type.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
from demo_gateway import show_gateway
from machine_anomalies import RECORDINGS
from machine_sounds import generate
from scipy.stats import betabinom

from avizor_inference import ModelRepository

# At this share of false alarms each machine's own 40 calibration recordings can judge it (19 would do).
ALPHA = 0.05
CONFIDENCE = 0.99

DATABASE = duckdb.connect()

INTRODUCTION = """\
Avizor takes trained networks to production and tells you when something looks wrong.

This demo listens to six machines (fans, motors, pumps). An autoencoder learns what they sound like when all is well; faults
are never shown to it. What it cannot reconstruct gets a small p-value, and is flagged at a false-alarm rate that is promised
beforehand. A classifier tells from the same sound which type of machine it is."""


def step(number: int, title: str) -> None:
    """Print a heading."""
    print(f"\n[{number}/5] {title}", flush=True)


def run(*command: str | Path) -> None:
    """Show a command and run it; end the demo with its exit code if it fails."""
    print("$ " + " ".join(map(str, command)), flush=True)
    code = subprocess.run([str(part) for part in command], check=False).returncode
    if code:
        sys.exit(code)


def make_sounds(sounds: Path, seed: int) -> None:
    """Generate every split and say what is in it."""
    for split, (normal, faulty) in RECORDINGS.items():
        folder = generate(sounds, split, normal, faulty, seed)
        normals, faults = count(folder)
        print(f"  {folder}: {normals} normal recordings, {faults} faulty ones, 4.2 s each")


def count(folder: Path) -> tuple[int, int]:
    """Normal and faulty recordings of a split."""
    counts = (
        f"select count(*) filter (condition = 'normal'), count(*) filter (condition <> 'normal') from '{folder}/labels.csv'"
    )
    ((normals, faults),) = rows(counts)
    return normals, faults


def report(sounds: Path, models: Path, results: Path) -> None:
    """The closing table, all of it computed from the job's Parquet files and the labels."""
    labelled = f"""
        create temp table judged as
        select r.*, l.condition, l.machine_type, l.machine_id
        from '{results}/recordings/*.parquet' r join '{sounds}/test/labels.csv' l on r.uri = '{sounds}/test/' || l.file
    """
    DATABASE.execute(labelled)
    (accuracy, heard), *_ = rows("select avg((label = machine_type)::int), count(*) from judged where label is not null")
    print(f"\nmachine type heard rightly: {accuracy:.1%} of {heard} recordings")
    print("\n  condition       recordings   flagged   ROC AUC against normal")
    for condition, total, flagged, auc in rows(BY_CONDITION):
        print(f"  {condition:14s} {total:11d} {flagged:9d}   {'' if condition == 'normal' else f'{auc:.3f}'}")
    (auc,), *_ = rows(OVERALL_AUC)
    print(f"  {'all faults':14s} {'':11s} {'':9s}   {auc:.3f}")
    promise(models)


def promise(models: Path) -> None:
    """False alarms beside the promise, machine by machine: each is judged by its own calibration."""
    calibration = ModelRepository(models).version("machine-sound").calibration()
    assert calibration is not None
    counts = rows(
        "select machine_id, count(*), count(*) filter (is_anomaly) from judged"
        " where condition = 'normal' and p_value is not null group by 1 order by 1"
    )
    alarms, total = sum(flagged for *_, flagged in counts), sum(recordings for _, recordings, _ in counts)
    print(f"\nfalse alarms: {alarms} of {total} normal recordings, {alarms / total:.1%}; promised: {ALPHA:.0%} on average")
    for machine, recordings, flagged in counts:
        bound = most_false_alarms(calibration.recordings(machine), recordings)
        verdict = (
            ""
            if flagged <= bound
            else "   OUTSIDE what chance allows: the test recordings are not like those of the calibration"
        )
        print(f"  {machine:10s} {flagged} of {recordings}; by chance up to {bound}, with {CONFIDENCE:.0%} confidence{verdict}")


def most_false_alarms(calibrated: int, tested: int) -> int:
    """Most false alarms to expect at the demo's confidence if the promise holds.

    Calibrations differ: with n recordings the flagged share is Beta(k, n + 1 - k), k = floor(alpha (n + 1)), so the number
    of alarms is beta-binomial (Vovk, "Conditional validity of inductive conformal predictors", 2012).
    """
    k = int(ALPHA * (calibrated + 1))
    return int(betabinom(tested, k, calibrated + 1 - k).ppf(CONFIDENCE))


def rows(query: str) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return DATABASE.execute(query).fetchall()


# Area under the ROC curve = probability that a faulty recording scores above a normal one (Mann and Whitney).
BY_CONDITION = """
    with scored as (select condition, score, is_anomaly from judged where score is not null),
         normal as (select score as other from scored where condition = 'normal')
    select condition, count(distinct id), count(distinct id) filter (is_anomaly),
           avg(case when score > other then 1 when score = other then 0.5 else 0 end)
    from (select *, row_number() over () as id from scored) cross join normal
    group by condition order by condition <> 'normal', condition
"""

OVERALL_AUC = """
    with scored as (select condition, score from judged where score is not null)
    select avg(case when f.score > n.score then 1 when f.score = n.score then 0.5 else 0 end)
    from scored f, scored n where f.condition <> 'normal' and n.condition = 'normal'
"""


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="Folder for everything; emptied first.")
    parser.add_argument("--seed", type=int, default=0, help="Of the generated sounds.")
    arguments = parser.parse_args()
    out: Path = arguments.out
    sounds, models, results = out / "sounds", out / "models", out / "results"
    avizor = Path(sys.executable).with_name("avizor")
    for folder in (sounds, models, results):
        shutil.rmtree(folder, ignore_errors=True)

    print(INTRODUCTION)
    step(1, "recordings: six machines, running normally and with five kinds of fault")
    make_sounds(sounds, arguments.seed)
    step(2, "train on normal sound, measure on faults never heard, export with parity proven and p-values calibrated")
    run(sys.executable, Path(__file__).with_name("machine_anomalies.py"), "--data", sounds, "--models", models)
    run(avizor, "models", "check", "--models", models)
    step(3, "stream the test recordings through both models, in bounded memory")
    chosen = ("--model", "machine-type", "--model", "machine-sound")
    run(avizor, "batch", sounds / "test", "--models", models, *chosen, "--out", results, "--alpha", str(ALPHA))
    step(4, "what was found, beside what was promised")
    report(sounds, models, results)
    step(5, "the same models behind the gRPC gateway, on the embedded engine: one recording of each kind")
    show_gateway(avizor, models, sounds / "test" / "pump-1", ALPHA)
    print(f"\nThe results are Parquet files in {results}; the recordings most in need of a look, by DuckDB:")
    query = f"select uri, p_value, score from '{results}/recordings/*.parquet' where is_anomaly order by score desc limit 10"
    print(f'  {Path(sys.executable)} -c "import duckdb; print(duckdb.sql(\\"{query}\\"))"')


if __name__ == "__main__":
    main()

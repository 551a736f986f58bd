"""Run `make demo`: everything from training to the gateway on machine sounds, on this computer, in a few minutes.

Generates recordings of six machines, trains on normal sound only, exports, judges the test recordings with both models in a
batch job, and compares the false alarms with the promise. Every step is a command that you could type.
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

# The share of false alarms. It needs at least 19 calibration recordings of each machine; there are 40.
ALPHA = 0.05
CONFIDENCE = 0.99

DATABASE = duckdb.connect()

INTRODUCTION = """\
Avizor takes trained networks to production and tells you when something looks wrong.

This demo listens to six machines (fans, motors, pumps). An autoencoder learns their normal sound; it never hears a fault in
training. A recording that it cannot reconstruct gets a small p-value, and is flagged at a false-alarm rate that is promised
in advance. A classifier recognises the type of the machine from the same sound."""


def step(number: int, title: str) -> None:
    """Print a heading."""
    print(f"\n[{number}/5] {title}", flush=True)


def run(*command: str | Path) -> None:
    """Print a command and run it; end the demo with its exit code if it fails."""
    print("$ " + " ".join(map(str, command)), flush=True)
    code = subprocess.run([str(part) for part in command], check=False).returncode
    if code:
        sys.exit(code)


def make_sounds(sounds: Path, seed: int) -> None:
    """Generate every split and print what is in it."""
    for split, (normal, faulty) in RECORDINGS.items():
        folder = generate(sounds, split, normal, faulty, seed)
        normals, faults = count(folder)
        print(f"  {folder}: {normals} normal recordings, {faults} faulty ones, 4.2 s each")


def count(folder: Path) -> tuple[int, int]:
    """Return the numbers of normal and of faulty recordings in a split."""
    counts = (
        f"select count(*) filter (condition = 'normal'), count(*) filter (condition <> 'normal') from '{folder}/labels.csv'"
    )
    ((normals, faults),) = rows(counts)
    return normals, faults


def report(sounds: Path, models: Path, results: Path) -> None:
    """Print the final table, which is computed from the job's Parquet files and the labels."""
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
    """Print the false alarms and the promise for each machine, which is judged by its own calibration."""
    (calibration,) = ModelRepository(models).version("machine-sound").calibrations()
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
    """Return the largest number of false alarms to expect, at the demo's confidence, if the promise holds.

    Calibrations vary: with n recordings the flagged share is Beta(k, n + 1 - k), k = floor(alpha (n + 1)), so the number
    of alarms is beta-binomial (Vovk, "Conditional validity of inductive conformal predictors", 2012).
    """
    k = int(ALPHA * (calibrated + 1))
    return int(betabinom(tested, k, calibrated + 1 - k).ppf(CONFIDENCE))


def rows(query: str) -> list[tuple[Any, ...]]:
    """Return all rows of a query."""
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
    parser.add_argument("--seed", type=int, default=0, help="Seed of the generated sounds.")
    arguments = parser.parse_args()
    out: Path = arguments.out
    sounds, models, results = out / "sounds", out / "models", out / "results"
    avizor = Path(sys.executable).with_name("avizor")
    for folder in (sounds, models, results):
        shutil.rmtree(folder, ignore_errors=True)

    print(INTRODUCTION)
    step(1, "recordings: six machines, running normally and with five kinds of fault")
    make_sounds(sounds, arguments.seed)
    step(2, "train on normal sound, measure on unknown faults, export with proven parity and calibrated p-values")
    run(sys.executable, Path(__file__).with_name("machine_anomalies.py"), "--data", sounds, "--models", models)
    run(avizor, "models", "check", "--models", models)
    step(3, "judge the test recordings with both models in a batch job, in bounded memory")
    chosen = ("--model", "machine-type", "--model", "machine-sound")
    run(avizor, "batch", sounds / "test", "--models", models, *chosen, "--out", results, "--alpha", str(ALPHA))
    step(4, "the results, and the promise")
    report(sounds, models, results)
    step(5, "the same models behind the gRPC gateway, on the embedded engine: one recording of each kind")
    show_gateway(avizor, models, sounds / "test" / "pump-1", ALPHA)
    print(f"\nThe results are Parquet files in {results}; the recordings most in need of a look, by DuckDB:")
    query = f"select uri, p_value, score from '{results}/recordings/*.parquet' where is_anomaly order by score desc limit 10"
    print(f'  {Path(sys.executable)} -c "import duckdb; print(duckdb.sql(\\"{query}\\"))"')
    print("\nThe gateway has been stopped. Start it again, and ask it from another terminal:")
    print(f"  {avizor} serve --models {models} --alpha {ALPHA}")
    print(f"  {avizor} call detect machine-sound '{sounds}/test/pump-1/*_0000.wav' --source pump-1")


if __name__ == "__main__":
    main()

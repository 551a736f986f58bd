"""Export every model of model_table_rows.py by `avizor export`, and write docs/models.md.

    make model-table [ROWS="resnet50 magika"]
    python benchmarks/model_table.py --packages FOLDER [--results model-table] [--seconds 1200] [--again] [ROW ...]

FOLDER has the packages that ship models, as `pip install --target` lays them. Each export is a separate process with a limit of
time. Its result is a JSON file in --results; a row that has one is not run again without --again, so that the command can be
stopped and continued. The page is written from all results. Exit code 1 if a row was refused that should not be, or the
reverse.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

import onnx
from model_table_rows import ROWS, Row

from avizor_inference.repository.models import ModelRepository

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
AVIZOR = [sys.executable, "-c", "from avizor_cli.main import main; main()"]

Result = Mapping[str, Any]

_MEANINGS = (
    "*Largest difference*: between the reference and ONNX Runtime, over all outputs and all items (zeros and random, batches",
    "of 1, 2, 3 and 8). *Of allowed*: the share of what an output may differ; a version is published up to 1",
    "([decision 16](decisions/0016-outputs-are-judged-by-the-scale-of-their-item.md)). An output that is the same for all",
    "items is named: it proves little.",
    "",
)


def command_of(row: Row) -> list[str]:
    """Return the arguments of `avizor`, as the page shows them."""
    task = ["--task", "classify", "--labels", f"labels-{row.classes}.txt"] if row.classes else ["--task", "reconstruct"]
    return ["export", row.network, "--name", file_name(row), *task, *row.options.split()]


def file_name(row: Row) -> str:
    """Return the row's name without spaces, as a model and a file may be named."""
    return re.sub(r"[^a-z0-9_.]+", "-", row.name.lower()).strip("-")


def run(row: Row, packages: Path, folder: Path, seconds: int) -> Result:
    """Prepare the row's files, export it, and return what came out. Nothing is raised for an export that fails."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / f"labels-{row.classes}.txt").write_text("".join(f"class {number}\n" for number in range(row.classes)))
    search = [str(Path(__file__).parent.resolve()), str(packages.resolve()), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))}
    arguments = [part.replace("{packages}", str(_where(row, packages))) for part in command_of(row)]
    prepare = [[sys.executable, "-c", f"from tablenets import *; {_with_paths(row.prepare)}"]] if row.prepare else []
    began = time.monotonic()
    for command in [*prepare, [*AVIZOR, *arguments]]:
        try:
            process = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"refused": f"not done within {seconds} s"}
        if process.returncode:
            return {"refused": _reason(process.stderr, process.returncode)}
    took = time.monotonic() - began
    result = {**_published(folder / "models", file_name(row)), "seconds": took}
    shutil.rmtree(folder)
    return result


def _where(row: Row, packages: Path) -> Path:
    """Return the folder that holds the row's package: that of --packages, or where onnx is installed."""
    return Path(onnx.__file__).parent.parent if row.package == "onnx" else packages.resolve()


def _with_paths(call: str) -> str:
    """Return the call with its first argument as a Path: save_program('a.pt2') -> save_program(Path('a.pt2'))."""
    return re.sub(r"\('([^']*)'", r"(Path('\1')", call, count=1)


def _reason(stderr: str, code: int) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return errors[-1] if errors else f"exit code {code}: {lines[-1] if lines else ''}"


def _published(models: Path, name: str) -> Result:
    """Return what the manifest says of the proof: with what it was compared, and the output that came nearest to its limit."""
    manifest = ModelRepository(models).version(name).manifest
    outputs = manifest.parity.outputs
    nearest = max(outputs, key=lambda output: outputs[output].share_of_allowed or 0.0)
    largest = max(outputs, key=lambda output: outputs[output].largest_absolute)
    return {
        "equal_to": manifest.parity.compared_with,
        "largest": outputs[largest].largest_absolute,
        "largest_of": largest,
        "share": outputs[nearest].share_of_allowed,
        "share_of": nearest,
        "parameters": manifest.provenance.parameters,
        "same_for_all": manifest.parity.same_for_all,
    }


def page_text(results: Mapping[str, Result], packages: Path) -> str:
    """Return the page: the counts, what was exported, what was refused, and what has not been run."""
    done = [row for row in ROWS if row.name in results]
    exported = [row for row in done if "refused" not in results[row.name]]
    kinds = {row.kind for row in exported}
    lines = [
        "# Models that were exported",
        "",
        f"`make model-table` tries to export {len(done)} models, from packages that ship the network or the file, and",
        f"writes this page. {len(exported)} were published, of {len(kinds)} kinds, and {len(done) - len(exported)} refused.",
        "Weights are random where the package ships none: the graph then computes what the network computes, and knows",
        "nothing. Batch norms then have the statistics of random images, so that each image gives another answer.",
        "",
        *_MEANINGS,
        f"Versions: {_versions(packages, done)}.",
        "",
        "## Published",
        "",
        "| model | kind | from | weights | parameters | equal to | largest difference | of allowed |",
        "|---|---|---|---|---:|---|---|---|",
    ]
    for row in exported:
        result = results[row.name]
        same = f"; {', '.join(result['same_for_all'])} the same for all" if result["same_for_all"] else ""
        lines.append(
            f"| {row.name} | {row.kind} | {row.package} | {row.weights} | {result['parameters']:,} | {result['equal_to']} "
            f"| {result['largest']:.1e} ({result['largest_of']}) | {result['share']:.3f} ({result['share_of']}){same} |"
        )
    lines += ["", "## Refused", "", "| model | kind | from | expected | what export says |", "|---|---|---|---|---|"]
    for row in done:
        if row not in exported:
            reason = str(results[row.name]["refused"]).replace(str(_where(row, packages)), "...")
            said = " ".join(reason.split()).replace("|", r"\|")
            lines.append(f"| {row.name} | {row.kind} | {row.package} | {row.refused or 'no'} | {said} |")
    lines += [
        "",
        "## Commands",
        "",
        "`{packages}` is the folder of the package. `labels-N.txt` holds N labels.",
        "",
        "```text",
    ]
    lines += ["avizor " + " ".join(_quoted(part) for part in command_of(row)) for row in done]
    lines += ["```", ""]
    if left := [row.name for row in ROWS if row not in done]:
        lines += [f"Not run: {', '.join(left)}.", ""]
    return "\n".join(lines)


def _quoted(part: str) -> str:
    return f'"{part}"' if " " in part else part


def _versions(packages: Path, rows: Sequence[Row]) -> str:
    """Return the packages of the rows with their versions."""
    shipped = {each.metadata["Name"].replace("-", "_"): each.version for each in distributions(path=[str(packages)])}
    named = []
    for name in dict.fromkeys(["torch", "onnxruntime", *(row.package for row in rows)]):
        try:
            named.append(f"{name} {shipped.get(name) or version(name)}")
        except PackageNotFoundError:  # of this repository, or installed under another name
            continue
    return ", ".join(named)


def main() -> int:
    """Run the rows that have no result, write the page, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path("model-table"))
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--seconds", type=int, default=1200)
    parser.add_argument("--again", action="store_true", help="Run the rows again that have a result.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="Names of rows; default: all.")
    options = parser.parse_args()
    if unknown := set(options.rows) - {row.name for row in ROWS}:
        parser.error(f"no rows are named {', '.join(sorted(unknown))}; they are {', '.join(row.name for row in ROWS)}")
    options.results.mkdir(parents=True, exist_ok=True)
    files = {row.name: options.results / f"{file_name(row)}.json" for row in ROWS}
    for row in ROWS:
        if (options.rows and row.name not in options.rows) or (files[row.name].exists() and not options.again):
            continue
        print(f"{row.name} ... ", end="", flush=True)
        result = run(row, options.packages, options.results / "work", options.seconds)
        files[row.name].write_text(json.dumps(result, indent=1))
        print(result.get("refused") or f"{result['share']:.3f} of allowed, {result['seconds']:.0f} s", flush=True)
    results = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    options.page.write_text(page_text(results, options.packages), encoding="utf-8")
    surprises = [row.name for row in ROWS if row.name in results and ("refused" in results[row.name]) != bool(row.refused)]
    if surprises:
        print(f"not as expected: {', '.join(surprises)}", file=sys.stderr)
    return int(bool(surprises))


if __name__ == "__main__":
    sys.exit(main())

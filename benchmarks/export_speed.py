"""Measure the CPU time of exporting a ResNet-50 at 224 x 224, stage by stage.

    python benchmarks/export_speed.py [--rounds 3]

Random weights, 1,000 classes; from a factory, from a factory and a state dict, and from an .onnx file. Each export is one
`avizor export` in a separate process. Prints the CPU seconds of each stage, of all threads and child processes, from the
moment when torch is imported: medians, in brackets the smallest and largest. Exit code 1 if the median of a total is over 60 s.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

PROMISED_S = 60.0
INPUT = "image:height=224,width=224,channels=3,mean=0.485/0.456/0.406,std=0.229/0.224/0.225"
NETWORKS = {
    "factory": ["torchvision.models:resnet50", "--weights-in-factory"],
    "state dict": ["torchvision.models:resnet50", "--weights", "resnet50.pt"],
    ".onnx file": ["resnet50.onnx"],
}
REST = "the rest: imports, options, output"


def cpu_seconds() -> float:
    """Return the CPU time of this process, all its threads, and its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


class StageTimes(logging.Handler):
    """Measures the CPU seconds of each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}
        self._began = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Note that a stage begins or ends. Its name without the version of what it compares with is kept."""
        if record.levelno < logging.INFO:
            self._began = cpu_seconds()
        else:
            name = str(record.args[0]) if isinstance(record.args, tuple) else ""
            before, _, kind = name.partition(": ")
            name = f"compare with the reference: {kind}" if before.startswith("compare with") else name
            self.seconds[name] = cpu_seconds() - self._began


def write_networks(folder: Path) -> None:
    """Write the state dict and the .onnx file of a ResNet-50, and labels."""
    import torch
    from torchvision.models import resnet50

    torch.manual_seed(0)
    network = resnet50().eval()
    torch.save(network.state_dict(), folder / "resnet50.pt")
    batch = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(
        network, (torch.zeros(2, 3, 224, 224),), folder / "resnet50.onnx", dynamo=True, opset_version=18,
        dynamic_shapes=batch, external_data=False, verbose=False,
    )  # fmt: skip
    (folder / "labels.txt").write_text("".join(f"class {number}\n" for number in range(1000)))


def measure(arguments: Sequence[str]) -> None:
    """Run `avizor` with these arguments in this process, and write the CPU seconds of its stages to times.json."""
    import torch  # noqa: F401 - the clock starts when it is imported

    began = cpu_seconds()
    from avizor_cli.main import avizor
    from avizor_export import stages

    stages.log.addHandler(times := StageTimes())
    avizor(["export", *arguments], standalone_mode=False)
    total = cpu_seconds() - began
    seconds = {**times.seconds, REST: total - sum(times.seconds.values()), "total": total}
    Path("times.json").write_text(json.dumps(seconds))


def measured(network: Sequence[str], folder: Path, number: int) -> dict[str, float]:
    """Return the CPU seconds of each stage of an export in a separate process, and their total."""
    models = f"models-{number}-{list(NETWORKS.values()).index(list(network))}"
    arguments = [*network, "--name", "resnet50", "--models", models, "--task", "classify", "--input", INPUT]
    arguments += ["--labels", "labels.txt"]
    # As the command sets it before it imports torch.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"an export failed: {result.stderr}")
    times: dict[str, float] = json.loads((folder / "times.json").read_text())
    return times


def main(rounds: int) -> int:
    """Print the table; return the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_networks(folder)
        results: dict[str, list[dict[str, float]]] = {network: [] for network in NETWORKS}
        for number in range(rounds):
            for network, arguments in NETWORKS.items():
                results[network].append(measured(arguments, folder, number))
    stages = list(dict.fromkeys(stage for runs in results.values() for stage in runs[0] if stage not in (REST, "total")))
    print(f"| CPU seconds | {' | '.join(results)} |")
    print("|---|" + "---:|" * len(results))
    for stage in [*stages, REST, "total"]:
        cells = []
        for runs in results.values():
            times = [run[stage] for run in runs if stage in run]
            cells.append(f"{median(times):.1f} ({min(times):.1f} to {max(times):.1f})" if times else "-")
        print(f"| {stage} | {' | '.join(cells)} |")
    totals = {network: median(run["total"] for run in runs) for network, runs in results.items()}
    print(f"\npromised: at most {PROMISED_S:g} s; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return int(max(totals.values()) > PROMISED_S)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        sys.path.insert(0, "")
        measure(sys.argv[2:])
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--rounds", type=int, default=3)
        sys.exit(main(parser.parse_args().rounds))

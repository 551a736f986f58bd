"""Keep both parts of Avizor's score of every window of the benchmark, so that combinations of them can be compared.

    python benchmarks/detection/parts.py --data FOLDER --out DIR [--seeds 0,1,2] [--sets A,B]

Trains as the method `Avizor` of the benchmark does: the same sets, seeds and recipe. DIR/parts has a file for each set and
seed; those that are there are not made again. DIR/sets has the sets, which a run of the benchmark with this --out has made.
`combinations.py` compares combinations; the benchmark itself does not need these files.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
for folder in (Path(__file__).parent.parent, Path(__file__).parent.parent.parent / "examples"):
    sys.path.insert(0, str(folder))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from detection.methods import NOW  # noqa: E402
from detection.run import NO_TUNING, SEEDS, Task, load  # noqa: E402
from detection.sets import DetectionSet, Items  # noqa: E402
from detection.sources import sources  # noqa: E402

from avizor_export import train_detector  # noqa: E402
from avizor_export.detection.detector import Detector  # noqa: E402

PARTS = ("reconstruction_score", "neighbour_score")


def path_of(out: Path, name: str, seed: int) -> Path:
    """Return the file of a set and a seed."""
    return out / "parts" / f"{name.replace(' ', '-')}-{seed}.npz"


def keep(data: DetectionSet, seed: int, path: Path) -> None:
    """Train, and write the parts of the score of all windows but the training's: float32[windows, 2], and their owners."""
    known, held_out = (torch.from_numpy(part.windows) for part in (data.train, data.statistics))
    detector, _ = train_detector(known, held_out, is_sound=data.is_sound, seed=seed)
    parts = {"statistics": data.statistics, "calibration": data.calibration, "normal": data.normal}
    parts |= {f"anomalies/{column}": items for column, items in data.anomalies.items()}
    arrays = {"family": np.array(data.family)}
    for name, items in parts.items():
        arrays |= {f"{name}/scores": scores_of(detector, items), f"{name}/owner": items.owner}
    temporary = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(temporary, **arrays)  # type: ignore[arg-type]  # numpy's stubs take the names for its options
    temporary.replace(path)
    torch.save(detector.state_dict(), path.with_suffix(".pt"))


def scores_of(detector: Detector, items: Items) -> np.ndarray:
    """Return the parts of the score of each window, float32[windows, 2]."""
    with torch.no_grad():
        scored = [detector.score(batch) for batch in torch.from_numpy(items.windows).split(256)]
    return torch.cat([torch.cat([each[name] for name in PARTS], dim=1) for each in scored]).numpy()


def main() -> None:
    """Train where a file is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--sets", default="", help="Only sets with one of these words in their names.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for folder in ("parts", "sets"):
        (arguments.out / folder).mkdir(parents=True, exist_ok=True)
    words = arguments.sets.split(",")
    for seed in map(int, arguments.seeds.split(",")):
        for name in sources():
            path = path_of(arguments.out, name, seed)
            if path.exists() or not any(word in name for word in words):
                continue
            start = time.process_time()
            keep(load(Task(name, seed, NOW, NO_TUNING, {}, arguments.data, arguments.out / "sets")), seed, path)
            print(f"{name}, seed {seed}: {time.process_time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()

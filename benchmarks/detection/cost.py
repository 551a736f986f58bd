"""Measure what further scores cost: the CPU time of one window with all of them, against the reconstruction error alone.

    python benchmarks/detection/cost.py [--rounds 41] [--nodes]

Both graphs have the same network, as `train_detector` suggests it, and are exported as every model is. Features go in: the
front end, which both would have, would hide a part of the cost. One thread of ONNX Runtime, only `score` is asked for. The
rounds are interleaved, and the ratio is that of the same round. Printed are medians, and in brackets the ratios between which
nine of ten rounds lie. `before`: the network of the examples as it was, its error alone, in us.
--nodes prints the operators of each graph after ONNX Runtime's optimiser.
"""

from __future__ import annotations

import argparse
import collections
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from avizor_export import ExportRequest, build_autoencoder, export_model, parse_input, train_detector
from avizor_export.detection.bank import MOST_ROWS, MOST_ROWS_OF_SOUNDS

BATCHES = (1, 16)
CALLS = 40  # of a graph in a round: the median of them counts
TRAINED = 60  # steps: what is learned does not change the cost


class Case(NamedTuple):
    """Says what is measured. shape: of the features. known: items of the training. before: spec of the examples' network.

    with_local: whether places of pictures are compared, too. No example has such pictures: before is the network of now.
    """

    name: str
    shape: tuple[int, ...]
    known: int
    before: str
    is_sound: bool = False
    with_local: bool = False


CASES = (
    Case("sound 64 x 64", (1, 64, 64), 480, "conv16s2bn conv32s2bn conv64s2bn latent24", is_sound=True),
    Case("image 14 x 14", (1, 14, 14), 1200, "conv32bn conv64s2bn fc128bn fc64bn latent8"),
    Case(
        "picture 96 x 96",
        (3, 96, 96),
        200,
        "conv16s2bn conv32s2bn conv64s2bn conv64s2bn conv64s2bn fc128bn latent16",
        with_local=True,
    ),
    Case("signal of 128 steps", (1, 128), 1200, "conv8s2k7 conv8s4k9p4 latentmap4"),
    Case("row of 36 numbers", (36,), 2000, "fc64bn fc32bn latent4"),
    Case("row of 9 numbers", (9,), 2000, "fc64bn fc32bn latent4"),
)


def main() -> None:
    """Export the graphs of each case, and time them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--only", default="", help="Cases with this in their names.")
    parser.add_argument("--nodes", action="store_true")
    arguments = parser.parse_args()
    print("| features, items in the bank | batch | error alone, us | all, us | ratio | before, us | MB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if arguments.only in case.name:
                measure(case, Path(folder), arguments.rounds, nodes=arguments.nodes)


def measure(case: Case, folder: Path, rounds: int, *, nodes: bool) -> None:
    """Print a line for each batch size."""
    rng = np.random.default_rng(0)
    items = torch.from_numpy(rng.standard_normal((case.known + 100, *case.shape)).astype(np.float32))
    detector, _ = train_detector(
        items[:-100], items[-100:], is_sound=case.is_sound, most_steps=TRAINED, with_local=case.with_local
    )
    torch.manual_seed(0)
    networks: dict[str, nn.Module] = {
        "error": detector.autoencoder,
        "all": detector,
        "before": build_autoencoder(case.before, case.shape).eval(),
    }
    limit = MOST_ROWS_OF_SOUNDS if case.is_sound else MOST_ROWS
    files = [export(name, network, case, folder, items) for name, network in networks.items()]
    sessions = [session(path) for path in files]
    for batch in BATCHES:
        batches = items[-batch:].numpy()
        times = np.array([[microseconds(each, batches) for each in sessions] for _ in range(rounds)]) / batch
        error, every, before = np.median(times, axis=0)
        low, middle, high = np.quantile(times[:, 1] / times[:, 0], [0.05, 0.5, 0.95])
        print(
            f"| {case.name}, {min(case.known, limit)} | {batch} | {error:.1f} | {every:.1f} | "
            f"{middle:.2f} ({low:.2f} to {high:.2f}) | {before:.1f} | {files[1].stat().st_size / 1e6:.1f} |",
            flush=True,
        )
    if nodes:
        for name, path in zip(networks, files, strict=True):
            print(f"  {name}: {operators(path)}")


def export(name: str, network: nn.Module, case: Case, folder: Path, items: torch.Tensor) -> Path:
    """Return the graph of the network."""
    shape = "/".join(map(str, case.shape))
    request = ExportRequest(
        name=f"{case.name.replace(' ', '-')}-{name}",
        task="reconstruct",
        input=parse_input(f"tensor:item_shape={shape}"),
        real_items=items[-16:].numpy(),
    )
    return export_model(network, request, folder).folder / "model.onnx"


def session(path: Path, optimised: Path | None = None) -> ort.InferenceSession:
    """Open a graph on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if optimised:
        options.optimized_model_filepath = str(optimised)
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def microseconds(of: ort.InferenceSession, batch: np.ndarray) -> float:
    """Return the median CPU time of a call in microseconds."""
    feed, times = {of.get_inputs()[0].name: batch}, list[int]()
    for _ in range(CALLS):
        start = time.thread_time_ns()
        of.run(["score"], feed)
        times.append(time.thread_time_ns() - start)
    return float(np.median(times)) / 1000


def operators(path: Path) -> str:
    """Return the operators that are run, with how many there are of each."""
    optimised = path.with_suffix(".optimised.onnx")
    session(path, optimised)
    counts = collections.Counter(node.op_type for node in onnx.load(optimised).graph.node)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


if __name__ == "__main__":
    main()

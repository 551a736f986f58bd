"""Run the models over a folder of clips with Ray Data, into Parquet. Runs in an environment with ray[data] and onnxruntime.

python ray_way.py MODELS NAMES CLIPS OUT WORKERS
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import ray
import soundfile

BATCH = 32


class Models:
    """Decodes and runs one batch after the other, in one of Ray's processes."""

    def __init__(self, files: list[str]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._sessions = [ort.InferenceSession(file, options, providers=["CPUExecutionProvider"]) for file in files]

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the output of each model, and the paths."""
        rows = np.stack([soundfile.read(io.BytesIO(data), dtype="float32")[0] for data in batch["bytes"]])
        columns: dict[str, Any] = {"uri": batch["path"]}
        for session in self._sessions:
            (name,) = (each.name for each in session.get_outputs() if each.name in ("probabilities", "score"))
            (values,) = session.run([name], {session.get_inputs()[0].name: rows})
            columns[name] = list(values)
        return columns


def main() -> None:
    """Run the job that the command line names."""
    models, names, clips, out, workers = sys.argv[1:]
    files = [str(Path(models) / name / "1" / "model.onnx") for name in names.split(",")]
    ray.init(num_cpus=int(workers), include_dashboard=False, log_to_driver=False, configure_logging=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.read_binary_files(clips, include_paths=True).map_batches(
        Models, fn_constructor_args=(files,), batch_size=BATCH, concurrency=int(workers), num_cpus=0.5
    ).write_parquet(out)
    ray.shutdown()


if __name__ == "__main__":
    main()

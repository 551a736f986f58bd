"""Run a model over a folder of pictures with a torch DataLoader and ONNX Runtime, into Parquet, with Avizor's decoder.

python loader_way.py MODELS NAME PICTURES OUT LOADERS THREADS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from avizor_inference.items.images import decode_image
from avizor_inference.items.kinds.image import ImageInput
from avizor_inference.repository.models import ModelRepository

BATCH = 32

Picture = tuple[str, NDArray[np.uint8]]


class Pictures(Dataset[Picture]):
    """Decodes one picture after the other, in a process of the loader."""

    def __init__(self, folder: str, spec: ImageInput) -> None:
        self._paths = sorted(map(str, Path(folder).iterdir()))
        self._spec = spec

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._paths)

    def __getitem__(self, place: int) -> Picture:
        """Return the path and the pixels of one picture."""
        with Path(self._paths[place]).open("rb") as file:
            return self._paths[place], decode_image(file, self._spec)


def collate(batch: list[Picture]) -> tuple[list[str], NDArray[np.uint8]]:
    """Return the paths and the pixels of a batch."""
    paths, pixels = zip(*batch, strict=True)
    return list(paths), np.stack(pixels)


def main() -> None:
    """Run the job that the command line names."""
    models, name, folder, out, loaders, threads = sys.argv[1:]
    version = ModelRepository(models).version(name)
    spec = version.manifest.input
    assert isinstance(spec, ImageInput)
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(threads)
    session = ort.InferenceSession(str(version.model_path), options, providers=["CPUExecutionProvider"])
    (node,) = session.get_inputs()
    schema = pa.schema([("uri", pa.string()), ("probabilities", pa.list_(pa.float32()))])
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for paths, pixels in DataLoader(Pictures(folder, spec), BATCH, num_workers=int(loaders), collate_fn=collate):
            (answers,) = session.run(["probabilities"], {node.name: pixels})
            writer.write_table(pa.table({"uri": paths, "probabilities": list(answers)}, schema))


if __name__ == "__main__":
    main()

"""Open an ONNX file as the network that is adopted: converted, and of given sizes. Without torch: the sandbox does it too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from avizor_export.networks.ml_operators import without_maps
from avizor_export.networks.onnx_cut import cut_to_outputs
from avizor_export.networks.onnx_files import in_contract_version, load_onnx
from avizor_export.networks.onnx_input import only_input, with_batch, with_item_shape
from avizor_export.networks.onnx_sandbox import MOST_ITEMS
from avizor_inference.engines.ort_session import open_session
from avizor_inference.repository.onnx_graph import GraphTensor, graph_of

# Batch sizes with which graphs are usually traced.
_USUAL_BATCHES = (1, 2, 3, 4, 16, 32, 64)


@dataclass(frozen=True)
class OpenedFile:
    """An ONNX file that has been read.

    file: as it is, but for maps, of which it returns the tensors. proto: its graph in the contract's opset, of sizes that are
    all given but for the batch.
    """

    path: Path
    file: onnx.ModelProto
    proto: onnx.ModelProto

    @property
    def tensor(self) -> GraphTensor:
        """Return the graph's one input."""
        return only_input(self.proto, self.path)

    @property
    def outputs(self) -> list[str]:
        """Return the names of the graph's outputs."""
        return [output.name for output in graph_of(self.proto).outputs]

    @property
    def frozen(self) -> int:
        """Return the batch size that the graph's input has; 0 if it is free."""
        return self.tensor.dims[0] or 0

    def cut_to(self, outputs: Sequence[str]) -> OpenedFile:
        """Return the file without what these outputs do not need."""
        return replace(self, proto=cut_to_outputs(self.proto, outputs))

    def frozen_inside(self) -> OpenedFile:
        """Return the file with the batch of its input frozen, if it is frozen inside and the input says that it is free.

        Runs the graph to find out.
        """
        size = batch_that_runs(self.proto, self.tensor) if not self.frozen else 0
        return replace(self, proto=with_batch(self.proto, size)) if size else self


def open_onnx(path: Path, item_shape: tuple[int, ...] = ()) -> OpenedFile:
    """Read an ONNX file. item_shape: of the features that it is given, which fixes sizes that it leaves free; () keeps them.

    Raises ExportError if the file is not valid, has not exactly one input, or cannot be converted.
    """
    file = load_onnx(path)
    proto = without_maps(in_contract_version(file, path))
    only_input(proto, path)
    return OpenedFile(path, without_maps(file), with_item_shape(proto, item_shape, path) if item_shape else proto)


def batch_that_runs(proto: onnx.ModelProto, tensor: GraphTensor) -> int:
    """Return the usual batch size that the graph runs on, if it does not run on MOST_ITEMS; else 0.

    tensor: the graph's input, of sizes that are all given but for the batch. Raises EngineError if the graph cannot be loaded.
    """
    session = open_session(proto.SerializeToString(), "the graph", threads=1)

    def runs(size: int) -> bool:
        try:
            session.run(None, {tensor.name: np.zeros((size, *(dim or 1 for dim in tensor.dims[1:])), tensor.dtype)})
        except Exception:  # the runtime's own exceptions share no base class
            return False
        return True

    return 0 if runs(MOST_ITEMS) else next(filter(runs, _USUAL_BATCHES), 0)

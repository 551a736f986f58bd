"""The network of an ONNX file with a free batch, proven equal to the file: what `onnx_adoption.py` builds on."""

from __future__ import annotations

import onnx

from avizor_export.networks.ml_operators import ONE_FLOAT_INPUT, is_converted_pipeline
from avizor_export.networks.onnx_batch import free_batch
from avizor_export.networks.onnx_opening import OpenedFile
from avizor_export.networks.onnx_rows import prove_rows
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError, FrozenBatch
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.tensor_spec import MESSAGE_BYTES
from avizor_inference.repository.onnx_graph import OPSET, graph_of

_AT_EXPORT = "export it again with dimension 0 dynamic: torch.onnx.export(..., dynamo=True, dynamic_shapes=({0: 'batch'},))"
_IN_CODE = ", and look in the network for code that uses the batch size: x.shape[0] or -1 belongs there instead of a number"


def network_as_it_is(opened: OpenedFile, spec: InputSpec, real: Items | None = None) -> onnx.ModelProto:
    """Return the graph of a file with a free batch, proven equal to the file if it was converted. spec: describes its input.

    real: items of that input, which show the range of whole numbers.

    Raises ExportError if the batch is frozen, or the conversion changed something.
    """
    if opened.frozen:
        raise ExportError(
            f"{opened.path}: the batch dimension of {opened.tensor.name} is frozen at {opened.frozen}; free it with "
            f"--free-batch, or {_again(opened.file)}"
        )
    opset = graph_of(opened.file).opset
    if opset != OPSET:
        try:
            prove_rows(opened.file, opened.proto, opened.proto, spec, real=real)
        except FrozenBatch as error:
            raise ExportError(
                f"{opened.path} has opset {opset}, and converted to {OPSET} it is not the same: {error}; export it again with "
                f"opset_version={OPSET}"
            ) from error
    return opened.proto


def network_with_free_batch(opened: OpenedFile, spec: InputSpec, real: Items | None = None) -> onnx.ModelProto:
    """Return the graph of a file with its frozen batch freed, proven equal to the file row by row. spec: describes its input.

    real: items of that input, which show the range of whole numbers.

    Raises ExportError naming the node that keeps the batch frozen.
    """
    if opened.frozen * spec.tensor().item_bytes > MESSAGE_BYTES:
        raise ExportError(
            f"{opened.path}: a batch of {opened.frozen} is too large to be run; export it again with a free batch"
        )
    try:
        freed = free_batch(opened.proto, opened.frozen)
        prove_rows(opened.file, opened.proto, freed, spec, opened.frozen, real)
    except FrozenBatch as error:
        raise ExportError(
            f"{opened.path}: its batch, frozen at {opened.frozen}, cannot be freed: {error}; {_again(opened.file)}"
            f"{'' if is_converted_pipeline(opened.file) else _IN_CODE}"
        ) from error
    return freed


def _again(file: onnx.ModelProto) -> str:
    """Return how to write the file again with a free batch."""
    return ONE_FLOAT_INPUT if is_converted_pipeline(file) else _AT_EXPORT

"""Exported programs (.pt2 files of torch.export.save) as modules, refused where export would fail on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from avizor_export.graph.quiet_libraries import quiet
from avizor_export.networks.pt2_safety import check_no_code
from avizor_export.parity.probe_items import BATCH_SIZES
from avizor_inference.error_text import one_line
from avizor_inference.errors import ExportError, UnsafeFile

# torch takes 0 and 1 for special: a batch that it has found out to be free begins at 2, and takes 1 nevertheless.
_LARGEST_LOWER_BOUND = 2
_FREE_BATCH = 'dynamic_shapes=({0: torch.export.Dim("batch")},)'


class Program(nn.Module):
    """An exported program as a module: it has no training mode that could be left."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        self.exported = program
        self.program = program.module()
        for module in self.modules():
            module.training = False

    def train(self, mode: bool = True) -> Program:
        """Nothing: how layers behave was settled when the program was exported."""
        return self

    def forward(self, items: Tensor) -> Tensor:
        """What the program gives."""
        output: Tensor = self.program(items)
        return output

    def input_tensors(self) -> list[Tensor]:
        """What the program takes, as tensors without values; sizes may be symbols."""
        names = self.exported.graph_signature.user_inputs
        values = [node.meta.get("val") for node in self.exported.graph.nodes if node.name in names]
        return [value for value in values if isinstance(value, Tensor)] if len(values) == len(names) else []

    def sizes(self, dimension: int) -> tuple[float, float]:
        """The least and the largest size of a dimension of its input."""
        (tensor,) = self.input_tensors()
        size = tensor.shape[dimension]
        if isinstance(size, int):
            return size, size
        limits = self.exported.range_constraints.get(size.node.expr)
        return (0, float("inf")) if limits is None else (float(limits.lower), float(limits.upper))


def load_program(path: Path) -> Program:
    """A `.pt2` file. Raises ExportError; a file that would run code is refused, and is not read further."""
    if not path.is_file():
        raise ExportError(f"{path} does not exist")
    try:
        check_no_code(path)
        with quiet("torch.export"):  # which writes a traceback to the log if it cannot read a file
            program = Program(torch.export.load(path))
    except UnsafeFile as error:
        raise ExportError(
            f"{path} holds more than a network of standard operators, and loading it could run code from the file: {error}; "
            "save the network with torch.export.save"
        ) from error
    except Exception as error:  # the reader's errors share no base class
        why = one_line(error)
        raise ExportError(
            f"{path} is not an exported program that can be read: {why}; save it with torch.export.save"
        ) from error
    if any(map(_is_training, program.exported.graph.nodes)):
        raise ExportError(
            f"{path} was exported in training mode; call eval() on the module before torch.export.export (a function like "
            "F.dropout does not see that: give it training=self.training)"
        )
    if len(program.input_tensors()) != 1 or not program.input_tensors()[0].dim():
        raise ExportError(f"{path} does not take what a model of Avizor does: one tensor, whose first dimension is the batch")
    _check_batch(program, path)
    return program


def check_items(program: Program, item_shape: Sequence[int], dtype: str, path: Path) -> None:
    """Raise ExportError unless the program takes `dtype[batch, *item_shape]`, which is what the front end gives."""
    (tensor,) = program.input_tensors()
    wanted = str(tensor.dtype).removeprefix("torch.")
    limits = [program.sizes(dimension) for dimension in range(1, tensor.dim())]
    fits = len(limits) == len(item_shape) and all(
        low <= size <= high for size, (low, high) in zip(item_shape, limits, strict=True)
    )
    if fits and wanted == dtype:
        return
    sizes = ", ".join(f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in limits)
    raise ExportError(
        f"{path} takes {wanted}[{sizes}] for an item, and by --input it is given {dtype}{list(item_shape)}; fix the input "
        "description, or export the program for that"
    )


def _check_batch(program: Program, path: Path) -> None:
    least, most = program.sizes(0)
    if least == most:
        raise ExportError(f"the batch dimension of {path} is frozen at {least:g}; export the program with {_FREE_BATCH}")
    if least > _LARGEST_LOWER_BOUND or most < max(BATCH_SIZES):
        raise ExportError(
            f"{path} takes batches of {least:g} to {most:g}, and a server sends any; export the program with {_FREE_BATCH}, "
            "without min and max"
        )


def _is_training(node: torch.fx.Node) -> bool:
    """A batch norm or dropout that was told to train."""
    operator = node.target
    if not isinstance(operator, torch._ops.OpOverload) or not any(name in str(operator) for name in ("batch_norm", "dropout")):
        return False
    for place, argument in enumerate(operator._schema.arguments):
        if argument.name in ("training", "train"):
            return (node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)) is True
    return False

"""Load exported programs (.pt2 files of torch.export.save) as modules, and refuse those on which export would fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from avizor_export.graph.one_input import ONE_INPUT
from avizor_export.graph.quiet_libraries import quiet
from avizor_export.networks.pt2_safety import check_no_code
from avizor_export.parity.probe_items import BATCH_SIZES
from avizor_inference.error_text import one_line
from avizor_inference.errors import ExportError, UnsafeFile

# torch treats 0 and 1 as special: the range of a free batch size begins at 2, and the program runs on 1 all the same.
_LARGEST_LOWER_BOUND = 2
_FREE_BATCH = 'dynamic_shapes=({0: torch.export.Dim("batch")},)'


class Program(nn.Module):
    """An exported program as a module, always in eval mode."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        self.exported = program
        self.program = program.module()
        for module in self.modules():
            module.training = False

    def train(self, mode: bool = True) -> Program:
        """Return the module unchanged: its mode was fixed when the program was exported."""
        return self

    def forward(self, items: Tensor) -> object:
        """Run the program on items [batch, ...]; return what its module returned: a tensor, or several."""
        return self.program(items)

    def input_tensors(self) -> list[Tensor]:
        """Return the program's inputs as tensors without values; empty if one is not a tensor. Sizes may be symbols."""
        names = self.exported.graph_signature.user_inputs
        values = [node.meta.get("val") for node in self.exported.graph.nodes if node.name in names]
        return [value for value in values if isinstance(value, Tensor)] if len(values) == len(names) else []

    def sizes(self, dimension: int) -> tuple[float, float]:
        """Return the least and the largest size of a dimension of its one input."""
        (tensor,) = self.input_tensors()
        size = tensor.shape[dimension]
        if isinstance(size, int):
            return size, size
        limits = self.exported.range_constraints.get(size.node.expr)
        return (0, float("inf")) if limits is None else (float(limits.lower), float(limits.upper))


def load_program(path: Path) -> Program:
    """Load a `.pt2` file.

    Raises ExportError if it cannot be read, is in training mode, or does not take one tensor with a free batch size. A file
    that would run code is refused before torch loads it.
    """
    if not path.is_file():
        raise ExportError(f"{path} does not exist")
    try:
        check_no_code(path)
        with quiet("torch.export"):  # torch logs a traceback if it cannot read a file
            program = Program(torch.export.load(path))
    except UnsafeFile as error:
        raise ExportError(
            f"{path} holds more than a network of standard operators, and loading it could run code from the file: {error}; "
            "save the network with torch.export.save"
        ) from error
    except Exception as error:  # the reader's errors share no base class
        raise ExportError(
            f"{path} is not an exported program that can be read: {one_line(error)}; save it with torch.export.save"
        ) from error
    if any(map(_is_training, program.exported.graph.nodes)):
        raise ExportError(
            f"{path} was exported in training mode; call eval() on the module before torch.export.export (a function like "
            "F.dropout does not see that: give it training=self.training)"
        )
    inputs = program.exported.graph_signature.user_inputs
    if len(inputs) > 1:
        raise ExportError(f"{path} takes {len(inputs)} inputs ({', '.join(map(str, inputs))}), and {ONE_INPUT}")
    if len(program.input_tensors()) != 1 or not program.input_tensors()[0].dim():
        raise ExportError(
            f"{path} does not take one tensor whose first dimension is the batch, as a model has to; export one that does"
        )
    _check_batch(program, path)
    return program


def check_items(program: Program, item_shape: Sequence[int], dtype: str, path: Path) -> None:
    """Raise ExportError unless the program takes `dtype[batch, *item_shape]`, the output of the front end."""
    (tensor,) = program.input_tensors()
    program_dtype = str(tensor.dtype).removeprefix("torch.")
    limits = [program.sizes(dimension) for dimension in range(1, tensor.dim())]
    fits = len(limits) == len(item_shape) and all(
        low <= size <= high for size, (low, high) in zip(item_shape, limits, strict=True)
    )
    if fits and program_dtype == dtype:
        return
    sizes = ", ".join(f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in limits)
    raise ExportError(
        f"{path} takes {program_dtype}[{sizes}] for an item, and by --input it is given {dtype}{list(item_shape)}; fix the "
        "input description, or export the program for that"
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
    """Return whether the node is a batch norm or dropout in training mode."""
    operator = node.target
    if not isinstance(operator, torch._ops.OpOverload) or not any(name in str(operator) for name in ("batch_norm", "dropout")):
        return False
    for index, argument in enumerate(operator._schema.arguments):
        if argument.name in ("training", "train"):
            return (node.args[index] if index < len(node.args) else node.kwargs.get(argument.name)) is True
    return False

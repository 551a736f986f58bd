"""Loading what a user trained: a factory and its state dict, an architecture or a spec, or an exported program."""

from __future__ import annotations

import importlib
import logging
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from avizor_inference.errors import ExportError

# How torch says that a pickle names something to be called.
_MORE_THAN_TENSORS = re.compile("Unsupported (global|class)|Trying to|Can only|not an allowed|disallowed", re.IGNORECASE)


class Program(nn.Module):
    """An exported program as a module: it has no training mode that could be left."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
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


def load_network(factory: str, arguments: Mapping[str, object], weights: Path | None) -> nn.Module:
    """Call the factory with keyword `arguments` and load the weights into what it returns. Raises ExportError."""
    network = _call(factory, arguments)
    if weights is not None:
        load_weights(network, read_state(weights), str(weights))
    return network


def load_program(path: Path) -> nn.Module:
    """A `.pt2` file of torch.export.save as a module. Raises ExportError."""
    try:
        with _quiet():
            program = torch.export.load(path)
        network = Program(program)
    except Exception as error:  # the reader's errors share no base class
        raise ExportError(
            f"{path} is not an exported program that can be read: {_line(error)}; save it with torch.export.save"
        ) from error
    if any(
        "batch_norm" in str(node.target) and "no_training" not in str(node.target) and True in node.args
        for node in program.graph.nodes
    ):
        raise ExportError(f"{path} was exported in training mode; call eval() on the module before torch.export.export")
    taken = program.graph_signature.user_inputs
    values = [node.meta.get("val") for node in program.graph.nodes if node.name in taken]
    if len(values) != 1 or not isinstance(values[0], Tensor) or not values[0].dim():
        raise ExportError(
            f"{path} takes {len(taken)} inputs; a model of Avizor takes one tensor, whose first dimension is the batch"
        )
    (value,) = values
    if isinstance(value.shape[0], int):
        raise ExportError(
            f"the batch dimension of {path} is frozen at {value.shape[0]}; export the program with "
            'dynamic_shapes=({0: torch.export.Dim("batch")},)'
        )
    return network


@contextmanager
def _quiet() -> Iterator[None]:
    """Of a file that it cannot read torch writes a traceback to the log."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _call(factory: str, arguments: Mapping[str, object]) -> nn.Module:
    module_name, colon, attribute = factory.partition(":")
    if not (module_name and colon and attribute):
        raise ExportError(f"{factory!r} is not a factory; write package.module:factory")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # an installed command does not look in the folder it is called from
    try:
        target = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ExportError(f"cannot import {factory!r}: {error}; it has to be importable from here or installed") from error
    try:
        network = target(**arguments)
    except Exception as error:  # the user's own code
        raise ExportError(f"{factory!r} failed with {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ExportError(f"{factory!r} returned a {type(network).__name__}; it has to return a torch module")
    return network


def read_state(path: Path) -> Mapping[str, Tensor]:
    """A state dict. Raises ExportError; a file that would run code is refused."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the errors that a damaged file gives share no base class
        if isinstance(error, pickle.UnpicklingError) and _MORE_THAN_TENSORS.search(str(error)):
            raise ExportError(
                f"{path} holds more than tensors, and loading it would run code from the file; save the weights with "
                "torch.save(model.state_dict(), path)"
            ) from error
        # torch's own words would advise to load it without that protection
        why = "it is damaged, or was not saved by torch" if isinstance(error, pickle.UnpicklingError) else _line(error)
        raise ExportError(f"{path} is not a weights file that can be read: {why}; save it again with torch.save") from error
    if not isinstance(state, Mapping):
        raise ExportError(f"{path} holds a {type(state).__name__}; save model.state_dict()")
    return state


def load_weights(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load a state dict that was read from `origin`. Raises ExportError naming what does not fit."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ExportError(f"{origin} does not fit the network: {error}") from error

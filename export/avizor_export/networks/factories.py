"""A network from a factory, which is Python code of the user's own, and a state dict."""

from __future__ import annotations

import importlib
import logging
import random
import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from avizor_export.networks.state_dicts import load_weights
from avizor_export.networks.weights_files import read_weights
from avizor_inference.errors import ExportError

_log = logging.getLogger(__name__)


def load_network(
    factory: str,
    arguments: Mapping[str, object],
    weights: Path | None,
    key: str | None = None,
    weights_in_factory: bool = False,
) -> tuple[nn.Module, str | None]:
    """Call the factory with keyword `arguments` and load the weights into what it returns; the key of the file they were under.

    weights_in_factory: the factory loads the trained weights itself. Without it and without `weights`, a factory that gives
    other weights at every call is refused: they are the random ones that a network begins with. One that always gives the same
    weights is taken, with a warning. Raises ExportError.
    """
    network = _call(factory, arguments)
    if weights is not None:
        return network, load_weights(network, read_weights(weights), key)
    count = sum(value.numel() for value in network.state_dict().values() if isinstance(value, Tensor) and not is_lazy(value))
    if count and not weights_in_factory:
        if not _returns_same_weights(network, factory, arguments):
            raise ExportError(
                f"{factory!r} gives a network whose {count:,} numbers are others each time: random, of a network that "
                "was never trained; give the trained ones with --weights, or add --weights-in-factory to publish these"
            )
        _log.warning(
            "no --weights were given: the %s numbers are those that %r gives; add --weights-in-factory if they are trained",
            f"{count:,}",
            factory,
        )
    return network, None


def _returns_same_weights(network: nn.Module, factory: str, arguments: Mapping[str, object]) -> bool:
    """Whether the factory gives the same weights again when chance is another. It is called a second time for that."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            seed = torch.initial_seed() % 2**31 + 1
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            again = _call(factory, arguments).state_dict()
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
    state = network.state_dict()
    tensors = {name for name, value in state.items() if isinstance(value, Tensor) and not is_lazy(value)}
    return all(name in again and torch.equal(state[name], again[name]) for name in tensors)


def _call(factory: str, arguments: Mapping[str, object]) -> nn.Module:
    target = _import_factory(factory)
    try:
        network = target(**arguments)
    except (Exception, SystemExit) as error:  # the user's own code
        raise ExportError(f"{factory!r} failed with {type(error).__name__}: {error}") from error
    # Of a compiled module the one within: the export translates it differently, and reads values of its layers.
    network = getattr(network, "_orig_mod", network)
    if not isinstance(network, nn.Module):
        raise ExportError(f"{factory!r} returned a {type(network).__name__}; it has to return a torch module")
    return network


def _import_factory(factory: str) -> Callable[..., object]:
    module_name, _, attribute = factory.partition(":")
    if "/" in module_name or module_name.endswith(".py"):
        raise ExportError(
            f"{factory!r} names a file, not a module; {_as_module(PurePath(module_name), attribute or 'factory')}"
        )
    if not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise ExportError(f"{factory!r} is not an architecture, a spec, a file or a factory; write package.module:factory")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # an installed command does not look in the folder it is called from
    try:
        target: Callable[..., object] = attrgetter(attribute)(importlib.import_module(module_name))
    except (ImportError, AttributeError) as error:
        raise ExportError(f"cannot import {factory!r}: {error}; it has to be importable from here or installed") from error
    except (Exception, SystemExit) as error:  # the user's own code
        raise ExportError(f"cannot import {factory!r}: it fails with {type(error).__name__}: {error}") from error
    return target


def _as_module(file: PurePath, attribute: str) -> str:
    """How to write the file's module, from a folder from which it can be imported."""
    file = file.with_suffix("")
    parts = [part for part in file.parts if part != "."]
    if all(part.isidentifier() for part in parts):
        return f"write {'.'.join(parts)}:{attribute}"
    if not file.name.isidentifier():
        return f"rename it, as {file.name!r} is not the name of a module, and write package.module:{attribute}"
    return f"go to the folder {file.parent}, and write {file.name}:{attribute}"

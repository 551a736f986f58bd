"""Build a network with a factory, which is the user's Python code, and load a state dict into it."""

from __future__ import annotations

import importlib
import inspect
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

from avizor_export.architectures.names import unknown_network
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
    """Call the factory with keyword `arguments`, and load the weights into the network that it returns.

    Return the network, and the key under which the file has the weights; None without a file. weights_in_factory: the factory
    loads the trained weights itself. Without it and without `weights`, a factory that returns different weights at every call
    is refused: they are the random ones that a network begins with. A factory that always returns the same weights is accepted
    with a warning. Raises ExportError if the factory fails, or the weights are missing or do not fit.
    """
    network = create_network(factory, arguments)
    if weights is not None:
        return network, load_weights(network, read_weights(weights), key)
    count = sum(value.numel() for value in network.state_dict().values() if isinstance(value, Tensor) and not is_lazy(value))
    if count and not weights_in_factory:
        if not _returns_same_weights(network, factory, arguments):
            raise ExportError(
                f"{factory!r} returns a network whose {count:,} weights differ at each call: they are random, not trained; "
                "give the trained ones with --weights, or add --weights-in-factory to publish these"
            )
        _log.warning(
            "no --weights were given: the %s weights are those that %r returns; add --weights-in-factory if they are trained",
            f"{count:,}",
            factory,
        )
    return network, None


def _returns_same_weights(network: nn.Module, factory: str, arguments: Mapping[str, object]) -> bool:
    """Return whether the factory, called once more with other random seeds, returns the same weights again."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            seed = torch.initial_seed() % 2**31 + 1
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            second_state = create_network(factory, arguments).state_dict()
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
    state = network.state_dict()
    names = {name for name, value in state.items() if isinstance(value, Tensor) and not is_lazy(value)}
    return all(name in second_state and torch.equal(state[name], second_state[name]) for name in names)


def create_network(factory: str, arguments: Mapping[str, object]) -> nn.Module:
    """Call the factory with keyword `arguments`, and return its torch module.

    Raises ExportError if it cannot be imported, fails, or returns something else.
    """
    target = _import_factory(factory)
    try:
        network = target(**arguments)
    except (Exception, SystemExit) as error:  # the user's own code
        hint = "" if _takes(target, arguments) else "; give what it needs, and nothing else, as --set NAME=JSON"
        raise ExportError(f"{factory!r} failed with {type(error).__name__}: {error}{hint}") from error
    # Take the module inside a compiled one: the export translates it differently, and reads values of its layers.
    network = getattr(network, "_orig_mod", network)
    if not isinstance(network, nn.Module):
        raise ExportError(f"{factory!r} returned a {type(network).__name__}; it has to return a torch module")
    return network


def _takes(target: Callable[..., object], arguments: Mapping[str, object]) -> bool:
    """Return whether a factory can be called with these arguments, as far as it can be told."""
    try:
        inspect.signature(target).bind(**arguments)
    except TypeError:
        return False
    except ValueError:  # a built-in function, which does not tell
        pass
    return True


def _import_factory(factory: str) -> Callable[..., object]:
    module_name, _, attribute = factory.partition(":")
    if "/" in module_name or module_name.endswith(".py"):
        raise ExportError(
            f"{factory!r} names a file, not a module; {_as_module(PurePath(module_name), attribute or 'factory')}"
        )
    if not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise ExportError(unknown_network(factory))
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
    """Return how to write the file's module, and from which folder it can be imported."""
    file = file.with_suffix("")
    parts = [part for part in file.parts if part != "."]
    if all(part.isidentifier() for part in parts):
        return f"write {'.'.join(parts)}:{attribute}"
    if not file.name.isidentifier():
        return f"rename it, as {file.name!r} is not the name of a module, and write package.module:{attribute}"
    return f"go to the folder {file.parent}, and write {file.name}:{attribute}"
